"""Pixels of one encoding as pixels of another, by the rules of cv_bridge."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from cv_bridge._encodings import Encoding

# OpenCV names a Bayer pattern by the second row's second and third pixel.
_BAYER = {"bayer_rggb": "BayerBG", "bayer_bggr": "BayerRG", "bayer_gbrg": "BayerGR"}
_BAYER["bayer_grbg"] = "BayerGB"
_YUV = {"yuv422": "YUV2{}_UYVY", "yuv422_yuy2": "YUV2{}_YUY2"}


class ConversionError(ValueError):
    """The conversion makes no sense, or there is none."""


def convert(image: NDArray, source: Encoding, target: Encoding) -> NDArray:
    """The image (H, W) or (H, W, channels) in the target encoding.

    Between 8 and 16 bits values are scaled by 257 (full white stays full white); other changes of
    the element type keep the numbers and clip them at the ends.

    Raises:
        ConversionError: from a colour to a plain type with other channels, from a plain type to a
            colour, or to Bayer and YUV.
    """
    if source.name == target.name:
        return image
    _check_sense(source, target)
    if source.colour != target.colour and source.colour and target.colour:
        image = cv2.cvtColor(np.ascontiguousarray(image), _code(source, target))
    return _as_type(image, source.dtype, target.dtype)


def _check_sense(source: Encoding, target: Encoding) -> None:
    if source.colour is None and target.colour is not None:
        raise ConversionError(
            f"[{source.name}] is not a color format. but [{target.name}] is. "
            "The conversion does not make sense"
        )
    if (source.colour is None or target.colour is None) and source.channels != target.channels:
        raise ConversionError(
            f"[{source.name}] and [{target.name}] do not have the same number of channels"
        )


def _code(source: Encoding, target: Encoding) -> int:
    origin, goal = source.colour or "", target.colour or ""
    if goal.startswith("bayer") or goal.startswith("yuv"):
        raise ConversionError(f"Unsupported conversion from [{source.name}] to [{target.name}]")
    wanted = "GRAY" if goal == "mono" else goal.upper()
    if origin in _BAYER:
        # There is no demosaicing to four channels of 16 bits; OpenCV has it for 8 bits only.
        name = f"{_BAYER[origin]}2{wanted}"
    elif origin in _YUV:
        name = _YUV[origin].format(wanted)
    else:
        name = f"{'GRAY' if origin == 'mono' else origin.upper()}2{wanted}"
    code = getattr(cv2, f"COLOR_{name}", None)
    if code is None:
        raise ConversionError(f"Unsupported conversion from [{source.name}] to [{target.name}]")
    return code


def _as_type(image: NDArray, source: np.dtype, target: np.dtype) -> NDArray:
    if source == target:
        return image
    # Full white stays full white; OpenCV's own rule for 8 and 16 bits.
    scale = {(1, 2): 257.0, (2, 1): 1 / 257.0}.get((source.itemsize, target.itemsize), 1.0)
    values = image * scale
    if target.kind == "f":
        return values.astype(target)
    limits = np.iinfo(target)
    values = np.rint(np.nan_to_num(values.astype(np.float64), nan=0.0))
    return np.clip(values, limits.min, limits.max).astype(target)
