"""Image bytes to arrays: encodings, padding, byte order, compression, distortion."""

import struct

import cv2
import numpy as np
import pytest

from semantic_field.data import message_images
from semantic_field.data.rectification import Rectifier
from semantic_field.geometry import Camera


def test_rows_with_padding_and_big_endian_depth():
    row = struct.pack(">3H", 1000, 2500, 0) + b"\xee\xee"
    pixels = message_images.decode_raw(2, 3, "16UC1", 8, True, row + row)
    assert pixels.tolist() == [[1000, 2500, 0]] * 2
    metres = message_images.depth_to_metres(pixels, "16UC1")
    assert metres.dtype == np.float32
    np.testing.assert_allclose(metres[0], [1.0, 2.5, 0.0], rtol=1e-6)


def test_padding_of_the_last_row_may_be_missing():
    data = bytes([1, 2, 3, 99, 4, 5, 6])
    assert message_images.decode_raw(2, 3, "mono8", 4, False, data).tolist() == [
        [1, 2, 3],
        [4, 5, 6],
    ]


@pytest.mark.parametrize(
    ("encoding", "sent"),
    [
        ("rgb8", [10, 20, 30]),
        ("bgr8", [30, 20, 10]),
        ("rgba8", [10, 20, 30, 77]),
        ("bgra8", [30, 20, 10, 77]),
    ],
)
def test_colour_orders(encoding, sent):
    pixels = message_images.decode_raw(1, 2, encoding, 2 * len(sent), False, bytes(sent * 2))
    assert message_images.color_to_rgb(pixels, encoding).tolist() == [[[10, 20, 30], [10, 20, 30]]]


def test_grey_becomes_rgb():
    pixels = message_images.decode_raw(1, 1, "mono8", 1, False, b"\x40")
    assert message_images.color_to_rgb(pixels, "mono8").tolist() == [[[64, 64, 64]]]


def test_float_depth_without_readings():
    values = np.array([[1.5, np.nan, np.inf, -np.inf, -2.0, 0.0]], np.float32)
    pixels = message_images.decode_raw(1, 6, "32FC1", 24, False, values.tobytes())
    assert message_images.depth_to_metres(pixels, "32FC1").tolist() == [[1.5, 0, 0, 0, 0, 0]]


def test_unlabelled_values():
    bytes8 = message_images.decode_raw(1, 3, "mono8", 3, False, b"\x00\xfe\xff")
    assert message_images.labels_to_ids(bytes8, "mono8").tolist() == [[0, 254, -1]]
    words = np.array([[255, 65535]], np.uint16)
    assert message_images.labels_to_ids(words, "16UC1").tolist() == [[255, -1]]


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((2, 3, "bayer_rggb8", 3, 6), "bayer_rggb8"),
        ((2, 3, "16UC1", 5, 99), "step >= 6"),
        ((2, 3, "16UC1", 6, 11), "cut off"),
        ((0, 3, "mono8", 3, 9), "pixels"),
    ],
)
def test_unusable_images_are_named(size, message):
    with pytest.raises(ValueError, match=message):
        message_images.check_size(*size)


def test_encodings_in_the_wrong_role():
    grey = np.zeros((1, 1), np.uint16)
    with pytest.raises(ValueError, match="mono16"):
        message_images.color_to_rgb(grey, "mono16")
    with pytest.raises(ValueError, match="mono8"):
        message_images.depth_to_metres(grey, "mono8")
    with pytest.raises(ValueError, match="32FC1"):
        message_images.labels_to_ids(grey, "32FC1")


def test_compressed_depth_of_both_transports():
    millimetres = np.array([[0, 500], [4000, 65535]], np.uint16)
    png = cv2.imencode(".png", millimetres)[1].tobytes()
    expected = np.array([[0, 0.5], [4.0, 65.535]], np.float32)
    np.testing.assert_allclose(message_images.decode_compressed_depth(png), expected)
    with_header = bytes(12) + png
    decoded = message_images.decode_compressed_depth(with_header, "16UC1; compressedDepth png")
    np.testing.assert_allclose(decoded, expected)


def test_compressed_float_depth_is_quantised_inverse_depth():
    # The transport's rule: value = a / depth + b; a = 100, b = 2, so 2 m becomes 52.
    png = cv2.imencode(".png", np.array([[52, 27, 0]], np.uint16))[1].tobytes()
    data = struct.pack("<iff", 0, 100.0, 2.0) + png
    decoded = message_images.decode_compressed_depth(data, "32FC1; compressedDepth png")
    np.testing.assert_allclose(decoded, [[2.0, 4.0, 0.0]])


def test_damaged_compressed_images():
    jpeg = cv2.imencode(".jpg", np.full((64, 64, 3), 90, np.uint8))[1].tobytes()
    assert message_images.decode_compressed_color(jpeg).shape == (64, 64, 3)
    with pytest.raises(ValueError, match="cut off"):
        message_images.decode_compressed_color(jpeg[: len(jpeg) // 2])
    with pytest.raises(ValueError, match="damaged"):
        message_images.decode_compressed_color(b"nonsense")
    with pytest.raises(ValueError, match="PNG"):
        message_images.decode_compressed_depth(jpeg, "16UC1; compressedDepth jpeg")
    with pytest.raises(ValueError, match="lossless"):
        message_images.decode_compressed_labels(jpeg)


def test_distortion_is_removed():
    camera = Camera(100.0, 100.0, 80.0, 60.0, 161, 121)
    k1 = 0.2
    rectify = Rectifier(camera, [k1, 0, 0, 0, 0])
    columns = np.tile(np.arange(161, dtype=np.uint8), (121, 1))
    out = rectify.color(np.repeat(columns[..., None], 3, axis=2))
    # Along the row of the principal point: x = 0.3 is seen at x (1 + k1 x^2) = 0.3054.
    assert out[60, 110, 0] == pytest.approx(80 + 100 * 0.3 * (1 + k1 * 0.09), abs=0.6)
    assert out[60, 80, 0] == 80


def test_depth_and_labels_are_never_mixed_by_rectification():
    camera = Camera(100.0, 100.0, 80.0, 60.0, 161, 121)
    rectify = Rectifier(camera, [0.3, 0.05, 0, 0, 0])
    depth = np.where(np.arange(161) < 100, 1.0, 5.0).astype(np.float32)
    depth = np.ascontiguousarray(np.broadcast_to(depth, (121, 161)))
    assert set(np.unique(rectify.depth(depth))) <= {0.0, 1.0, 5.0}
    labels = rectify.labels((depth * 10).astype(np.int32), -1)
    assert set(np.unique(labels)) == {-1, 10, 50}


def test_rectifier_without_distortion_changes_nothing():
    camera = Camera(100.0, 100.0, 1.0, 1.0, 3, 3)
    image = np.arange(9, dtype=np.float32).reshape(3, 3)
    rectify = Rectifier(camera, np.zeros(5))
    assert rectify.depth(image) is image
    assert rectify.fits(camera, np.zeros(5)) and not rectify.fits(camera, [0.1, 0, 0, 0, 0])


def test_unknown_distortion():
    camera = Camera(100.0, 100.0, 1.0, 1.0, 3, 3)
    with pytest.raises(ValueError, match="fancy"):
        Rectifier(camera, [0.1] * 5, "fancy")
    with pytest.raises(
        ValueError, match=r"4, 5, 8, 12 or 14 coefficients .* got D = \[0.1, 0.1, 0.1\]"
    ):
        Rectifier(camera, [0.1] * 3)
