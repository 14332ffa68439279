"""Images between messages and arrays: bytes by hand, conversions against OpenCV."""

from __future__ import annotations

import numpy as np
import pytest

import embedded_ros

embedded_ros.install()

cv2 = pytest.importorskip("cv2")

from cv_bridge import CvBridge, CvBridgeError  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from semantic_field.data.images import decode_raw  # noqa: E402

BRIDGE = CvBridge()
ENCODINGS = {
    "rgb8": (np.uint8, 3),
    "bgr8": (np.uint8, 3),
    "rgba8": (np.uint8, 4),
    "bgra8": (np.uint8, 4),
    "mono8": (np.uint8, 1),
    "mono16": (np.uint16, 1),
    "bgr16": (np.uint16, 3),
    "8UC1": (np.uint8, 1),
    "8UC3": (np.uint8, 3),
    "8SC1": (np.int8, 1),
    "16UC1": (np.uint16, 1),
    "16SC1": (np.int16, 1),
    "32SC1": (np.int32, 1),
    "32FC1": (np.float32, 1),
    "32FC3": (np.float32, 3),
    "64FC1": (np.float64, 1),
    "8UC10": (np.uint8, 10),
}


def pixels(encoding, height=5, width=7, seed=0):
    dtype, channels = ENCODINGS[encoding]
    shape = (height, width) if channels == 1 else (height, width, channels)
    generator = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return generator.normal(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def padded(image, encoding, extra, bigendian=False):
    """A message whose rows are ``extra`` bytes longer than they need to be."""
    dtype = image.dtype.newbyteorder(">" if bigendian else "<")
    rows = [row.astype(dtype).tobytes() + b"\xee" * extra for row in image]
    return Image(
        height=image.shape[0],
        width=image.shape[1],
        encoding=encoding,
        is_bigendian=int(bigendian),
        step=len(rows[0]),
        data=b"".join(rows),
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("extra", [0, 3])
@pytest.mark.parametrize("bigendian", [False, True])
def test_pixels_survive_padding_and_byte_order(encoding, extra, bigendian):
    image = pixels(encoding)
    found = BRIDGE.imgmsg_to_cv2(padded(image, encoding, extra, bigendian))
    assert found.dtype == image.dtype and found.dtype.isnative
    assert found.flags.c_contiguous and found.flags.writeable
    np.testing.assert_array_equal(found, image)


def test_a_last_row_without_padding_is_enough():
    image = pixels("16UC1")
    message = padded(image, "16UC1", 6)
    message.data = bytes(message.data)[:-6]
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message), image)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_round_trip(encoding):
    image = pixels(encoding)
    header = Header(frame_id="camera")
    message = BRIDGE.cv2_to_imgmsg(image, encoding, header)
    assert (message.height, message.width, message.encoding) == (5, 7, encoding)
    assert message.step == image[0].nbytes and message.is_bigendian == 0
    assert message.header.frame_id == "camera"
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message), image)


def test_passthrough_names_the_type():
    assert BRIDGE.cv2_to_imgmsg(pixels("bgr8")).encoding == "8UC3"
    assert BRIDGE.cv2_to_imgmsg(pixels("mono16")).encoding == "16UC1"
    assert BRIDGE.cv2_to_imgmsg(pixels("32FC1")[..., None]).encoding == "32FC1"


def test_a_view_and_a_big_endian_array_are_sent_right():
    image = pixels("16UC1", 8, 8)
    np.testing.assert_array_equal(
        BRIDGE.imgmsg_to_cv2(BRIDGE.cv2_to_imgmsg(image[::2, 1::2], "16UC1")), image[::2, 1::2]
    )
    big = image.astype(">u2")
    message = BRIDGE.cv2_to_imgmsg(big, "16UC1")
    assert message.is_bigendian == 1
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message), image)


@pytest.mark.parametrize("encoding", [name for name in ENCODINGS if name != "8UC10"])
@pytest.mark.parametrize("bigendian", [False, True])
def test_the_decoder_without_cv_bridge_reads_the_same(encoding, bigendian):
    """Where cv_bridge was built for another NumPy the nodes decode by themselves."""
    message = padded(pixels(encoding), encoding, 5, bigendian)
    own = decode_raw(message.height, message.width, encoding, message.step, bigendian, message.data)
    found = BRIDGE.imgmsg_to_cv2(message)
    assert own.dtype == found.dtype
    np.testing.assert_array_equal(own, found)


# --- conversions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target", "code"),
    [
        ("rgb8", "bgr8", cv2.COLOR_RGB2BGR),
        ("bgr8", "rgb8", cv2.COLOR_BGR2RGB),
        ("rgb8", "bgra8", cv2.COLOR_RGB2BGRA),
        ("bgra8", "rgb8", cv2.COLOR_BGRA2RGB),
        ("rgba8", "bgra8", cv2.COLOR_RGBA2BGRA),
        ("rgb8", "mono8", cv2.COLOR_RGB2GRAY),
        ("bgr8", "mono8", cv2.COLOR_BGR2GRAY),
        ("mono8", "rgb8", cv2.COLOR_GRAY2RGB),
        ("mono8", "bgra8", cv2.COLOR_GRAY2BGRA),
    ],
)
def test_colours_are_converted_as_opencv_does(source, target, code):
    image = pixels(source)
    found = BRIDGE.imgmsg_to_cv2(padded(image, source, 1), target)
    np.testing.assert_array_equal(found, cv2.cvtColor(image, code))


def test_red_stays_red():
    red = Image(height=1, width=1, encoding="rgb8", step=3, data=bytes([255, 0, 0]))
    assert BRIDGE.imgmsg_to_cv2(red, "bgr8").tolist() == [[[0, 0, 255]]]
    assert BRIDGE.imgmsg_to_cv2(red, "rgba8").tolist() == [[[255, 0, 0, 255]]]
    assert BRIDGE.imgmsg_to_cv2(red, "mono8").tolist() == [[76]]


def test_eight_and_sixteen_bits_are_scaled():
    eight = Image(height=1, width=3, encoding="mono8", step=3, data=bytes([0, 1, 255]))
    assert BRIDGE.imgmsg_to_cv2(eight, "mono16").tolist() == [[0, 257, 65535]]
    sixteen = BRIDGE.cv2_to_imgmsg(np.array([[0, 257, 300, 65535]], np.uint16), "mono16")
    assert BRIDGE.imgmsg_to_cv2(sixteen, "mono8").tolist() == [[0, 1, 1, 255]]


def test_depth_keeps_its_numbers():
    depth = BRIDGE.cv2_to_imgmsg(np.array([[0, 1500, 65535]], np.uint16), "16UC1")
    assert BRIDGE.imgmsg_to_cv2(depth, "32FC1").tolist() == [[0.0, 1500.0, 65535.0]]
    metres = np.array([[1.5, 2.5, -3.0, np.nan, 1e9]], np.float32)
    found = BRIDGE.imgmsg_to_cv2(BRIDGE.cv2_to_imgmsg(metres, "32FC1"), "16UC1")
    assert found.tolist() == [[2, 2, 0, 0, 65535]]  # rounded half to even and clipped, as OpenCV


def test_bayer_and_yuv_become_colours():
    mosaic = np.full((4, 4), 10, np.uint8)
    mosaic[::2, ::2] = 200  # rggb: the red ones
    message = padded(mosaic, "bayer_rggb8", 0)
    blue, green, red = BRIDGE.imgmsg_to_cv2(message, "bgr8")[1:3, 1:3].reshape(-1, 3).mean(0)
    assert red > 100 and green < 50 and blue < 50
    grey = np.full((2, 4, 2), 128, np.uint8)
    grey[..., 1] = 90  # UYVY: chroma first
    message = padded(grey, "yuv422", 0)
    found = BRIDGE.imgmsg_to_cv2(message, "rgb8")
    assert found.shape == (2, 4, 3) and np.ptp(found) <= 1


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "desired", "words"),
    [
        ("16UC1", "mono16", "is not a color format"),
        ("32FC1", "bgr8", "is not a color format"),
        ("bgr8", "16UC1", "same number of channels"),
        ("bgr8", "bayer_rggb8", "Unsupported conversion"),
        ("bgr8", "nonsense", r"Unrecognized image encoding \[nonsense\]"),
    ],
)
def test_conversions_without_sense_are_refused(encoding, desired, words):
    with pytest.raises(CvBridgeError, match=words):
        BRIDGE.imgmsg_to_cv2(padded(pixels(encoding), encoding, 0), desired)


def test_broken_messages_are_refused():
    message = padded(pixels("rgb8"), "rgb8", 0)
    message.data = bytes(message.data)[:-1]
    with pytest.raises(CvBridgeError, match="got step 21 and 104 bytes"):
        BRIDGE.imgmsg_to_cv2(message)
    message = padded(pixels("rgb8"), "rgb8", 0)
    message.step = 20
    with pytest.raises(CvBridgeError, match="rows of 21 bytes"):
        BRIDGE.imgmsg_to_cv2(message)
    message.encoding = "jpg"
    with pytest.raises(CvBridgeError, match="Unrecognized"):
        BRIDGE.imgmsg_to_cv2(message)
    assert BRIDGE.imgmsg_to_cv2(Image(encoding="rgb8")).shape == (0, 0, 3)


def test_wrong_arrays_are_refused():
    with pytest.raises(TypeError, match="numpy array"):
        BRIDGE.cv2_to_imgmsg([[1, 2]], "mono8")
    with pytest.raises(CvBridgeError, match="incompatible type 32FC1"):
        BRIDGE.cv2_to_imgmsg(pixels("32FC1"), "mono8")
    with pytest.raises(CvBridgeError, match="int64"):
        BRIDGE.cv2_to_imgmsg(np.zeros((2, 2), np.int64))


# --- compressed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["mono8", "bgr8", "bgra8", "mono16"])
def test_png_keeps_every_bit(encoding):
    image = pixels(encoding, 20, 30)
    message = BRIDGE.cv2_to_compressed_imgmsg(image, "png")
    assert message.format == "png"
    assert bytes(message.data[:4]) == b"\x89PNG"
    np.testing.assert_array_equal(BRIDGE.compressed_imgmsg_to_cv2(message), image)


def test_compressed_images_are_converted():
    image = pixels("bgr8", 20, 30)
    message = BRIDGE.cv2_to_compressed_imgmsg(image, "png")
    found = BRIDGE.compressed_imgmsg_to_cv2(message, "rgb8")
    np.testing.assert_array_equal(found, image[..., ::-1])


def test_jpg_is_near():
    rows, columns = np.mgrid[0:40, 0:60]
    image = np.stack([rows * 4, columns * 4, rows * 0 + 90], axis=-1).astype(np.uint8)
    message = BRIDGE.cv2_to_compressed_imgmsg(image)
    assert message.format == "jpg" and bytes(message.data[:2]) == b"\xff\xd8"
    found = BRIDGE.compressed_imgmsg_to_cv2(message, "bgr8").astype(int)
    assert np.abs(found - image).mean() < 3.0


def test_broken_compressed_images_are_refused():
    with pytest.raises(CvBridgeError, match="OpenCV can decode"):
        BRIDGE.compressed_imgmsg_to_cv2(CompressedImage(format="jpeg", data=b"no image"))
    with pytest.raises(CvBridgeError, match="0 bytes"):
        BRIDGE.compressed_imgmsg_to_cv2(CompressedImage(format="jpeg"))
    with pytest.raises(CvBridgeError, match="'nonsense'"):
        BRIDGE.cv2_to_compressed_imgmsg(pixels("bgr8"), "nonsense")
