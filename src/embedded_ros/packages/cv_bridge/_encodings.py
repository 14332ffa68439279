"""What an encoding's name says: element type, channels, and whether it is a colour."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

DTYPES = {
    "8U": np.dtype(np.uint8),
    "8S": np.dtype(np.int8),
    "16U": np.dtype(np.uint16),
    "16S": np.dtype(np.int16),
    "32S": np.dtype(np.int32),
    "32F": np.dtype(np.float32),
    "64F": np.dtype(np.float64),
}
_TYPE_NAME = re.compile(r"^(8U|8S|16U|16S|32S|32F|64F)C([1-9][0-9]*)$")
_COLOUR_NAME = re.compile(r"^(bgr|rgb|bgra|rgba|mono|bayer_(?:rggb|bggr|gbrg|grbg))(8|16)$")
_YUV = {"yuv422": "yuv422", "uyvy": "yuv422", "yuv422_yuy2": "yuv422_yuy2", "yuyv": "yuv422_yuy2"}
_CHANNELS = {"bgr": 3, "rgb": 3, "bgra": 4, "rgba": 4}


@dataclass(frozen=True)
class Encoding:
    """``colour`` is the order of channels ("bgr", "mono", "bayer_rggb"), None for raw types."""

    name: str
    dtype: np.dtype
    channels: int
    colour: str | None

    @property
    def type_name(self) -> str:
        """OpenCV's name: 8UC3."""
        depth = next(name for name, dtype in DTYPES.items() if dtype == self.dtype)
        return f"{depth}C{self.channels}"


def parse_encoding(name: str) -> Encoding | None:
    """The meaning of ``sensor_msgs/Image.encoding``; None where it has none."""
    if found := _TYPE_NAME.match(name):
        return Encoding(name, DTYPES[found[1]], int(found[2]), None)
    if re.match(r"^(8U|8S|16U|16S|32S|32F|64F)C$", name):
        return Encoding(name, DTYPES[name[:-1]], 1, None)
    if found := _COLOUR_NAME.match(name):
        dtype = DTYPES["8U" if found[2] == "8" else "16U"]
        return Encoding(name, dtype, _CHANNELS.get(found[1], 1), found[1])
    if name in _YUV:
        return Encoding(name, DTYPES["8U"], 2, _YUV[name])
    return None
