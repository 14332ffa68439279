"""From the bytes of an image message to arrays: encodings, units, compression and distortion.

Encodings are those of sensor_msgs/image_encodings. Colour is rgb8, bgr8, rgba8, bgra8 or mono8;
depth is 16UC1 or mono16 in millimetres or 32FC1 in metres (REP-118); label images are mono8 or
16UC1. Any other is an error that names it.
"""

from __future__ import annotations

import array
import re
import struct
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.data.rectification import Rectifier as Rectifier
from semantic_field.frames import VOID_LABEL

Bytes = bytes | bytearray | memoryview | array.array | NDArray[np.uint8]

COLOR_ENCODINGS: Final = ("rgb8", "bgr8", "rgba8", "bgra8", "mono8")
DEPTH_ENCODINGS: Final = ("16UC1", "mono16", "32FC1")
LABEL_ENCODINGS: Final = ("mono8", "8UC1", "16UC1", "mono16")

_NAMED: Final = {
    "rgb8": ("u1", 3),
    "bgr8": ("u1", 3),
    "rgba8": ("u1", 4),
    "bgra8": ("u1", 4),
    "mono8": ("u1", 1),
    "rgb16": ("u2", 3),
    "bgr16": ("u2", 3),
    "mono16": ("u2", 1),
}
_GENERIC: Final = re.compile(r"(8|16|32|64)(U|S|F)C([1-4])")
_KINDS: Final = {"U": "u", "S": "i", "F": "f"}
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_DEPTH_HEADER: Final = struct.Struct("<iff")  # of compressed_depth_image_transport: kind, a, b


def pixel_type(encoding: str) -> tuple[np.dtype, int]:
    """Type and channels of a pixel; ValueError for encodings that are not plain pixels."""
    if encoding in _NAMED:
        kind, channels = _NAMED[encoding]
        return np.dtype(kind), channels
    match = _GENERIC.fullmatch(encoding)
    if match is None or (match[2] == "F" and int(match[1]) < 32):
        raise ValueError(
            f"expected plain pixels such as {', '.join(_NAMED)}, 16UC1 or 32FC1, got encoding "
            f"{encoding!r}; convert it in the camera driver or with image_proc"
        )
    return np.dtype(f"{_KINDS[match[2]]}{int(match[1]) // 8}"), int(match[3])


def check_size(height: int, width: int, encoding: str, step: int, n_bytes: int) -> None:
    """ValueError where ``n_bytes`` of data with rows of ``step`` bytes cannot hold the image."""
    dtype, channels = pixel_type(encoding)
    row = width * channels * dtype.itemsize
    if height <= 0 or width <= 0:
        raise ValueError(f"expected an image with pixels, got {width}x{height} ({encoding})")
    if step < row:
        raise ValueError(f"expected step >= {row} for {width} pixels of {encoding}, got {step}")
    if n_bytes < step * (height - 1) + row:
        raise ValueError(
            f"expected {step * height} bytes for {width}x{height} {encoding} with step {step}, "
            f"got {n_bytes}: the message is cut off"
        )


def decode_raw(
    height: int, width: int, encoding: str, step: int, is_bigendian: bool, data: Bytes
) -> NDArray:
    """The pixels of a sensor_msgs/Image as sent, (H, W) or (H, W, channels), in this machine's
    byte order; a view of ``data`` where that is possible.

    Raises:
        ValueError: unknown encoding, or step or data too short for the size.
    """
    buffer = np.frombuffer(data, np.uint8)
    check_size(height, width, encoding, step, buffer.size)
    dtype, channels = pixel_type(encoding)
    row = width * channels * dtype.itemsize
    if buffer.size < step * height:  # the padding of the last row was left out
        buffer = np.pad(buffer, (0, step * height - buffer.size))
    rows = buffer[: step * height].reshape(height, step)[:, :row]
    wire = dtype.newbyteorder(">" if is_bigendian else "<")
    pixels = np.ascontiguousarray(rows).view(wire).astype(dtype.newbyteorder("="), copy=False)
    return pixels if channels == 1 else pixels.reshape(height, width, channels)


def decode_message(message: Any) -> NDArray:
    """``decode_raw`` of anything with the fields of a sensor_msgs/Image."""
    return decode_raw(
        message.height,
        message.width,
        message.encoding,
        message.step,
        bool(message.is_bigendian),
        message.data,
    )


def color_to_rgb(pixels: NDArray, encoding: str) -> NDArray[np.uint8]:
    """uint8 RGB (H, W, 3) of colour pixels in one of ``COLOR_ENCODINGS``."""
    if encoding not in COLOR_ENCODINGS:
        raise ValueError(f"expected colour in {', '.join(COLOR_ENCODINGS)}, got {encoding!r}")
    if encoding == "mono8":
        return np.repeat(pixels[..., None], 3, axis=2)
    order = slice(None, 3) if encoding.startswith("rgb") else slice(2, None, -1)
    return np.ascontiguousarray(pixels[..., order])


def depth_units(pixels: NDArray, encoding: str) -> tuple[NDArray[np.float32], bool]:
    """float32 z-depth (H, W) of pixels in ``DEPTH_ENCODINGS``, in their own unit, and whether
    that is of floats. 0 = no reading; NaN, infinite and negative readings become 0."""
    if encoding in ("16UC1", "mono16"):
        return pixels.astype(np.float32), False
    if encoding == "32FC1":
        return np.where(np.isfinite(pixels) & (pixels > 0), pixels, 0).astype(np.float32), True
    raise ValueError(
        f"expected depth in 16UC1 or mono16 (millimetres) or 32FC1 (metres), got {encoding!r}"
    )


def depth_to_metres(pixels: NDArray, encoding: str) -> NDArray[np.float32]:
    """float32 z-depth (H, W) in metres, 0 = no reading, of pixels in ``DEPTH_ENCODINGS``.

    16 bits are millimetres, floats are metres; NaN, infinite and negative readings become 0.
    """
    return in_metres(*depth_units(pixels, encoding))


def in_metres(units: NDArray[np.float32], is_float: bool) -> NDArray[np.float32]:
    """Depth in metres as REP-118 has it: floats are metres, integers are millimetres."""
    return units if is_float else units * np.float32(0.001)


def labels_to_ids(pixels: NDArray, encoding: str) -> NDArray[np.int32]:
    """int32 class ids (H, W) of pixels in ``LABEL_ENCODINGS``; 255 (8 bits) and 65535 (16 bits)
    mean unlabelled and become -1."""
    if encoding not in LABEL_ENCODINGS:
        raise ValueError(f"expected labels in {', '.join(LABEL_ENCODINGS)}, got {encoding!r}")
    return void_to_minus_one(pixels)


def void_to_minus_one(pixels: NDArray) -> NDArray[np.int32]:
    """int32 of uint8 or uint16 ids, their greatest value turned into -1."""
    ids = pixels.astype(np.int32)
    ids[ids == np.iinfo(pixels.dtype).max] = VOID_LABEL
    return ids


def decode_compressed_color(data: Bytes) -> NDArray[np.uint8]:
    """uint8 RGB (H, W, 3) of JPEG or PNG bytes; ValueError where they are damaged."""
    raw = bytes(data)
    if raw.startswith(_JPEG_START) and _JPEG_END not in raw[-4096:]:
        raise ValueError(f"expected a whole JPEG image, got {len(raw)} bytes that are cut off")
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return np.asarray(cv2.cvtColor(_imdecode(raw, flags, "colour"), cv2.COLOR_BGR2RGB), np.uint8)


def decode_compressed_depth(data: Bytes, encoding: str = "") -> NDArray[np.float32]:
    """float32 metres (H, W) of compressed depth, see ``compressed_depth_units``."""
    return in_metres(*compressed_depth_units(data, encoding))


def compressed_depth_units(data: Bytes, encoding: str = "") -> tuple[NDArray[np.float32], bool]:
    """Depth (H, W) in its own unit, and whether that is of floats: a 16-bit PNG of millimetres,
    or what compressed_depth_image_transport sends (a 12-byte header, then a PNG).

    ``encoding`` is the message's format, such as "32FC1; compressedDepth png". Where it names
    32FC1 the PNG holds quantised inverse depth a / (value - b) with a and b from the header.
    """
    raw = bytes(data)
    header_at = raw.find(_PNG, 0, 64)
    if header_at not in (0, _DEPTH_HEADER.size):
        raise ValueError(
            f"expected depth compressed as PNG, got format {encoding!r} starting with "
            f"{raw[:4].hex()}; set the transport's format to png"
        )
    pixels = _imdecode(raw[header_at:], cv2.IMREAD_UNCHANGED, "depth")
    if pixels.dtype != np.uint16 or pixels.ndim != 2:
        raise ValueError(
            f"expected a 16-bit PNG of one channel for depth, got {pixels.dtype} {pixels.shape}"
        )
    if not (header_at and encoding.startswith("32FC1")):
        return depth_units(pixels, "16UC1")
    _, a, b = _DEPTH_HEADER.unpack_from(raw)
    with np.errstate(divide="ignore", invalid="ignore"):
        metres = np.where(pixels > 0, a / (pixels.astype(np.float32) - b), 0)
    return depth_units(metres, "32FC1")


def decode_compressed_labels(data: Bytes) -> NDArray[np.int32]:
    """int32 class ids (H, W) of a PNG of 8 or 16 bits, its greatest value turned into -1."""
    raw = bytes(data)
    if not raw.startswith(_PNG):
        raise ValueError(f"expected labels compressed as PNG (lossless), got {raw[:4].hex()}")
    pixels = _imdecode(raw, cv2.IMREAD_UNCHANGED, "label")
    if pixels.ndim != 2:
        raise ValueError(f"expected label images of one channel, got shape {pixels.shape}")
    return void_to_minus_one(pixels)


def _imdecode(raw: bytes, flags: int, what: str) -> NDArray:
    pixels = cv2.imdecode(np.frombuffer(raw, np.uint8), flags) if raw else None
    if pixels is None:
        raise ValueError(f"expected a {what} image as JPEG or PNG, got {len(raw)} damaged bytes")
    return pixels
