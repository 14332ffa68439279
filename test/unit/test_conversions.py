"""Between messages and arrays: bytes by hand, round trips, rows and byte orders of all kinds."""

from __future__ import annotations

import struct

import numpy as np
import pytest

import embedded_ros

embedded_ros.install()

from geometry_msgs.msg import Pose  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from semantic_field.geometry import Camera, look_at  # noqa: E402
from semantic_field.nodes.ros import conversions  # noqa: E402

ENCODINGS = {
    "rgb8": (np.uint8, 3),
    "bgr8": (np.uint8, 3),
    "rgba8": (np.uint8, 4),
    "bgra8": (np.uint8, 4),
    "mono8": (np.uint8, 1),
    "mono16": (np.uint16, 1),
    "8UC1": (np.uint8, 1),
    "8UC3": (np.uint8, 3),
    "8SC1": (np.int8, 1),
    "16UC1": (np.uint16, 1),
    "16SC1": (np.int16, 1),
    "32SC1": (np.int32, 1),
    "32FC1": (np.float32, 1),
    "32FC3": (np.float32, 3),
    "64FC1": (np.float64, 1),
}
HEADER = Header(frame_id="camera")


def pixels_of(encoding: str, height: int = 3, width: int = 5) -> np.ndarray:
    dtype, channels = ENCODINGS[encoding]
    shape = (height, width) if channels == 1 else (height, width, channels)
    random = np.random.default_rng(3)
    if np.dtype(dtype).kind == "f":
        return random.normal(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def padded_message(pixels: np.ndarray, encoding: str, padding: int, big: bool) -> Image:
    """Rows of ``padding`` more bytes than they need, in the byte order that is asked for."""
    height, width = pixels.shape[:2]
    wire = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<"))
    rows = [row.tobytes() + b"\xaa" * padding for row in wire]
    return Image(
        header=HEADER,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=int(big),
        step=len(rows[0]),
        data=conversions.to_bytes(b"".join(rows)),
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_pixels_survive_a_message(encoding):
    pixels = pixels_of(encoding)
    message = conversions.image_message(pixels, encoding, HEADER)
    assert (message.height, message.width) == (3, 5)
    assert message.step == pixels[0].nbytes and len(message.data) == 3 * message.step
    decoded = conversions.image_array(message)
    assert decoded.dtype == pixels.dtype
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize("big", [False, True], ids=["little", "big"])
@pytest.mark.parametrize("padding", [0, 8])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_padding_and_byte_order_do_not_matter(encoding, padding, big):
    pixels = pixels_of(encoding)
    found = conversions.image_array(padded_message(pixels, encoding, padding, big))
    assert found.dtype == pixels.dtype and found.dtype.isnative
    np.testing.assert_array_equal(found, pixels)


def test_slices_and_transposed_images_are_sent_whole():
    whole = np.arange(60, dtype=np.uint16).reshape(6, 10)
    for view in (whole[1:4, 2:7], whole.T, whole[:, ::-1]):
        message = conversions.image_message(view, "16UC1", HEADER)
        np.testing.assert_array_equal(conversions.image_array(message), view)


def test_cut_off_data_is_named():
    message = conversions.image_message(pixels_of("rgb8"), "rgb8", HEADER)
    message.data = message.data[:-20]
    with pytest.raises(ValueError, match=r"expected 45 bytes .* got 25: the message is cut off"):
        conversions.image_array(message)


def test_unknown_encodings_are_named():
    message = conversions.image_message(pixels_of("mono8"), "bayer_rggb8", HEADER)
    with pytest.raises(ValueError, match="bayer_rggb8"):
        conversions.image_array(message)


@pytest.mark.parametrize(
    ("encoding", "pixel"),
    [
        ("rgb8", [1, 2, 3]),
        ("bgr8", [3, 2, 1]),
        ("rgba8", [1, 2, 3, 255]),
        ("bgra8", [3, 2, 1, 255]),
    ],
)
def test_colour_comes_out_as_rgb(encoding, pixel):
    message = conversions.image_message(np.full((2, 3, len(pixel)), pixel, "u1"), encoding, HEADER)
    rgb = conversions.rgb_image(message)
    assert rgb.shape == (2, 3, 3) and rgb.dtype == np.uint8
    np.testing.assert_array_equal(rgb, np.broadcast_to(np.array([1, 2, 3], np.uint8), (2, 3, 3)))


def test_grey_becomes_three_equal_channels():
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    rgb = conversions.rgb_image(conversions.image_message(grey, "mono8", HEADER))
    np.testing.assert_array_equal(rgb, np.stack([grey] * 3, axis=2))


def test_depth_in_metres_and_in_millimetres_is_one_depth():
    metres = np.array([[1.5, 0.0, np.nan], [2.25, np.inf, -1.0]], np.float32)
    millimetres = np.array([[1500, 0, 0], [2250, 0, 0]], np.uint16)
    expected = np.array([[1.5, 0, 0], [2.25, 0, 0]], np.float32)
    for pixels, encoding in (
        (metres, "32FC1"),
        (millimetres, "16UC1"),
        (millimetres, "mono16"),
    ):
        depth = conversions.depth_metres(conversions.image_message(pixels, encoding, HEADER))
        assert depth.dtype == np.float32
        np.testing.assert_allclose(depth, expected, atol=1e-6)


def test_a_colour_image_is_no_depth():
    message = conversions.image_message(pixels_of("rgb8"), "rgb8", HEADER)
    with pytest.raises(ValueError, match=r"16UC1 .*32FC1.* got 'rgb8'"):
        conversions.depth_metres(message)


def test_labels_survive_a_message_and_void_is_65535():
    labels = np.array([[0, 7, -1], [254, 255, 65534]], np.int32)
    message = conversions.label_message(labels, HEADER)
    assert message.encoding == "16UC1"
    sent = struct.unpack("<6H", bytes(message.data))
    assert sent == (0, 7, 65535, 254, 255, 65534)
    np.testing.assert_array_equal(conversions.label_ids(message), labels)


def test_labels_of_8_bits_are_void_at_255():
    pixels = np.array([[0, 7, 255]], np.uint8)
    message = conversions.image_message(pixels, "mono8", HEADER)
    np.testing.assert_array_equal(conversions.label_ids(message), [[0, 7, -1]])


def test_a_label_that_16_bits_cannot_hold_is_refused():
    for label in (65535, 70000):
        with pytest.raises(ValueError, match=f"up to 65534, got {label}"):
            conversions.label_message(np.array([[label]], np.int32), HEADER)


def test_labels_in_floats_are_refused():
    message = conversions.image_message(np.ones((2, 2), np.float32), "32FC1", HEADER)
    with pytest.raises(ValueError, match="32FC1"):
        conversions.label_ids(message)


@pytest.mark.parametrize("stamp_ns", [0, 1, 999_999_999, 1_700_000_000_123_456_789])
def test_stamps_keep_every_nanosecond(stamp_ns):
    stamp = conversions.to_stamp(stamp_ns)
    assert stamp.nanosec < 1_000_000_000
    assert conversions.to_nanoseconds(stamp) == stamp_ns


def test_transforms_and_poses_survive():
    matrix = look_at((1.0, -2.0, 0.5), (3.0, 1.0, 0.0))
    transform, pose = conversions.to_transform(matrix), conversions.to_pose(matrix)
    np.testing.assert_allclose(conversions.matrix_from_transform(transform), matrix, atol=1e-12)
    np.testing.assert_allclose(conversions.matrix_from_pose(pose), matrix, atol=1e-12)


def test_a_pose_by_hand():
    """A quarter turn about z, then a metre along x."""
    pose = Pose()
    pose.position.x, pose.orientation.z, pose.orientation.w = 1.0, 0.5**0.5, 0.5**0.5
    moved = conversions.matrix_from_pose(pose) @ [2.0, 0.0, 0.0, 1.0]
    np.testing.assert_allclose(moved, [1.0, 2.0, 0.0, 1.0], atol=1e-12)


def test_cameras_survive_and_distortion_comes_along():
    camera = Camera(525.0, 520.0, 319.5, 239.5, 640, 480)
    info = conversions.camera_info(camera, HEADER)
    assert np.asarray(info.p).tolist() == [525, 0, 319.5, 0, 0, 520, 239.5, 0, 0, 0, 1, 0]
    again, distortion = conversions.camera_from_info(info)
    assert again == camera and not distortion.any()
    info.d = [0.1, -0.2, 0.0, 0.0, 0.05]
    np.testing.assert_array_equal(conversions.camera_from_info(info)[1], info.d)


def test_an_empty_camera_info_is_named():
    with pytest.raises(ValueError, match="CameraInfo"):
        conversions.camera_from_info(CameraInfo(width=640, height=480))


def cloud() -> PointCloud2:
    return conversions.cloud_message(
        HEADER,
        xyz=np.array([[1.0, 2.0, 3.0], [-1.5, 0.25, 9.0]], np.float32),
        color=np.array([[255, 128, 1], [0, 2, 254]], np.uint8),
        intensity=np.array([0.25, 1.0], np.float32),
        labels=np.array([7, -1], np.int32),
        normals=np.array([[0, 0, 1], [0, -1, 0]], np.float32),
    )


def test_layout_of_a_cloud():
    message = cloud()
    layout = {f.name: (f.offset, f.datatype, f.count) for f in message.fields}
    real, whole = PointField.FLOAT32, PointField.UINT32
    assert layout == {
        "x": (0, real, 1),
        "y": (4, real, 1),
        "z": (8, real, 1),
        "rgb": (12, real, 1),
        "intensity": (16, real, 1),
        "label": (20, whole, 1),
        "normal_x": (24, real, 1),
        "normal_y": (28, real, 1),
        "normal_z": (32, real, 1),
    }
    assert (message.point_step, message.row_step) == (36, 72)
    assert (message.height, message.width, message.is_bigendian) == (1, 2, False)


def test_bytes_of_a_point():
    """As PCL and RViz read them: colour as 0x00RRGGBB in a float's bits."""
    first, second = struct.iter_unpack("<3fIfI3f", bytes(cloud().data))
    assert first == (1.0, 2.0, 3.0, 0x00FF8001, 0.25, 7, 0.0, 0.0, 1.0)
    assert second == (-1.5, 0.25, 9.0, 0x000002FE, 1.0, 0xFFFFFFFF, 0.0, -1.0, 0.0)


def test_a_cloud_is_read_back():
    points = conversions.cloud_arrays(cloud())
    assert points["label"].tolist() == [7, conversions.NO_LABEL_32]
    colors = conversions.unpacked_colors(points["rgb"])
    assert colors.tolist() == [[255, 128, 1], [0, 2, 254]]


def test_a_cloud_without_points():
    empty = np.zeros((0, 3), np.float32)
    message = conversions.cloud_message(
        HEADER, empty, empty.astype(np.uint8), np.zeros(0), np.zeros(0, np.int32), empty
    )
    assert (message.width, len(message.data)) == (0, 0)
    assert len(conversions.cloud_arrays(message)) == 0


def test_a_foreign_cloud_is_refused():
    with pytest.raises(ValueError, match="point_step 36, got 16"):
        conversions.cloud_arrays(PointCloud2(point_step=16))
