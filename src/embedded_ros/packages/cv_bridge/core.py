"""CvBridge: the four conversions, and what encodings mean."""

from __future__ import annotations

import sys

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from cv_bridge._conversion import ConversionError, convert
from cv_bridge._encodings import DTYPES, Encoding, parse_encoding

PASSTHROUGH = "passthrough"


class CvBridgeError(TypeError):
    """An image that cannot be converted, and why."""


class CvBridge:
    """Converts images; holds nothing."""

    # --- encodings ----------------------------------------------------------------------------

    def encoding_to_dtype_with_channels(self, encoding: str) -> tuple[str, int]:
        """Name of the element type and number of channels."""
        found = _encoding(encoding)
        return found.dtype.name, found.channels

    def dtype_with_channels_to_cvtype2(self, dtype: np.dtype | str, n_channels: int) -> str:
        """OpenCV's name of an element type with channels, such as 8UC3."""
        for name, known in DTYPES.items():
            if known == np.dtype(dtype).newbyteorder("="):
                return f"{name}C{n_channels}"
        raise CvBridgeError(f"OpenCV has no images of {np.dtype(dtype).name}")

    # --- raw images ---------------------------------------------------------------------------

    def imgmsg_to_cv2(self, img_msg: Image, desired_encoding: str = PASSTHROUGH) -> NDArray:
        """The pixels (H, W) or (H, W, channels) in this machine's byte order.

        With ``passthrough`` as they were sent, sharing the message's memory where they can.

        Raises:
            CvBridgeError: unknown encoding, data too short for the size, or a conversion that
                does not make sense.
        """
        source = _encoding(img_msg.encoding)
        image = _pixels(img_msg, source)
        if desired_encoding == PASSTHROUGH:
            return image
        return _converted(image, source, desired_encoding)

    def cv2_to_imgmsg(
        self, cvim: NDArray, encoding: str = PASSTHROUGH, header: Header | None = None
    ) -> Image:
        """The message of an array (H, W) or (H, W, channels).

        Raises:
            TypeError: not an array.
            CvBridgeError: the encoding's type is not the array's.
        """
        if not isinstance(cvim, np.ndarray | np.generic):
            raise TypeError("Your input type is not a numpy array")
        if cvim.ndim not in (2, 3):
            raise CvBridgeError(f"expected an array (H, W) or (H, W, C), got shape {cvim.shape}")
        channels = 1 if cvim.ndim == 2 else cvim.shape[2]
        type_name = self.dtype_with_channels_to_cvtype2(cvim.dtype, channels)
        if encoding == PASSTHROUGH:
            encoding = type_name
        elif _encoding(encoding).type_name != type_name:
            raise CvBridgeError(
                f"encoding specified as {encoding}, but image has incompatible type {type_name}"
            )
        return Image(
            header=Header() if header is None else header,
            height=cvim.shape[0],
            width=cvim.shape[1],
            encoding=encoding,
            is_bigendian=int(_is_bigendian(cvim.dtype)),
            step=cvim.shape[1] * channels * cvim.itemsize,
            data=np.ascontiguousarray(cvim).reshape(-1).view(np.uint8),
        )

    # --- compressed images --------------------------------------------------------------------

    def compressed_imgmsg_to_cv2(
        self, cmprs_img_msg: CompressedImage, desired_encoding: str = PASSTHROUGH
    ) -> NDArray:
        """The decoded image; with ``passthrough`` in OpenCV's order (BGR, BGRA or one channel).

        Raises:
            CvBridgeError: the data is no image, or the conversion does not make sense.
        """
        data = np.frombuffer(cmprs_img_msg.data, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
        if image is None:
            raise CvBridgeError(
                f"{data.size} bytes of format '{cmprs_img_msg.format}' are not an image that "
                "OpenCV can decode"
            )
        if desired_encoding == PASSTHROUGH:
            return image
        return _converted(image, _decoded_encoding(image), desired_encoding)

    def cv2_to_compressed_imgmsg(self, cvim: NDArray, dst_format: str = "jpg") -> CompressedImage:
        """The array (BGR, BGRA or one channel) as a compressed image: jpg, png, tiff, webp, ...

        Raises:
            TypeError: not an array.
            CvBridgeError: OpenCV cannot write such an image in this format.
        """
        if not isinstance(cvim, np.ndarray | np.generic):
            raise TypeError("Your input type is not a numpy array")
        try:
            written, data = cv2.imencode(f".{dst_format}", cvim)
        except cv2.error as error:
            raise CvBridgeError(f"cannot write an image as '{dst_format}': {error}") from error
        if not written:
            raise CvBridgeError(
                f"cannot write an image {cvim.dtype} {cvim.shape} as '{dst_format}'"
            )
        return CompressedImage(format=dst_format, data=data.tobytes())


def _encoding(name: str) -> Encoding:
    found = parse_encoding(name)
    if found is None:
        raise CvBridgeError(f"Unrecognized image encoding [{name}]")
    return found


def _pixels(message: Image, encoding: Encoding) -> NDArray:
    dtype = encoding.dtype.newbyteorder(">" if message.is_bigendian else "<")
    row = message.width * encoding.channels * dtype.itemsize
    needed = message.step * (message.height - 1) + row if message.height else 0
    if message.step < row or len(message.data) < needed:
        raise CvBridgeError(
            f"an image {message.width}x{message.height} of encoding {encoding.name} needs rows of "
            f"{row} bytes and {needed} bytes in all, got step {message.step} and "
            f"{len(message.data)} bytes"
        )
    shape: tuple[int, ...] = (message.height, message.width)
    strides: tuple[int, ...] = (message.step, encoding.channels * dtype.itemsize)
    if encoding.channels > 1:
        shape, strides = (*shape, encoding.channels), (*strides, dtype.itemsize)
    if 0 in shape:
        return np.zeros(shape, encoding.dtype)
    # Rows may be padded and may start anywhere, so strides say where each one is.
    view = np.ndarray(shape, dtype, buffer=message.data, strides=strides)
    return np.ascontiguousarray(view, dtype=encoding.dtype)


def _converted(image: NDArray, source: Encoding, desired: str) -> NDArray:
    try:
        return convert(image, source, _encoding(desired))
    except (ConversionError, cv2.error) as error:
        raise CvBridgeError(str(error)) from error


def _decoded_encoding(image: NDArray) -> Encoding:
    colour = {1: "mono", 3: "bgr", 4: "bgra"}[1 if image.ndim == 2 else image.shape[2]]
    name = f"{colour}{8 * image.itemsize}"
    return parse_encoding(name) or Encoding(name, image.dtype, 1, None)


def _is_bigendian(dtype: np.dtype) -> bool:
    if dtype.itemsize == 1:
        return False
    return dtype.byteorder == ">" or (dtype.byteorder == "=" and sys.byteorder == "big")
