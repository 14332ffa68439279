"""Conversions between ROS messages and arrays: stamps, poses, cameras, images, point clouds."""

from __future__ import annotations

import array

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, Quaternion, Transform, Vector3
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header

from semantic_field.data import message_images
from semantic_field.data.camera_info import read_camera_info
from semantic_field.data.folder_writer import ids_to_uint16
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.geometry import (
    Camera,
    make_transform,
    matrix_from_quaternion,
    quaternion_from_matrix,
)


def to_nanoseconds(stamp: Time) -> int:
    """Convert a stamp message to integer nanoseconds."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def to_stamp(stamp_ns: int) -> Time:
    """Convert integer nanoseconds to a stamp message."""
    return Time(sec=int(stamp_ns // 1_000_000_000), nanosec=int(stamp_ns % 1_000_000_000))


def without_slash(header: Header) -> None:
    """Strip the leading slash of the header's frame name, in place, as tf2 expects."""
    header.frame_id = header.frame_id.lstrip("/")


def make_header(stamp_ns: int, frame_id: str) -> Header:
    """Return a header with that stamp and frame."""
    return Header(stamp=to_stamp(stamp_ns), frame_id=frame_id)


def to_bytes(data: NDArray | bytes) -> array.array:
    """Convert to ``array.array``, which rclpy assigns to ``uint8[]`` without checking elements."""
    result = array.array("B")
    result.frombytes(data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes())
    return result


# --- images -----------------------------------------------------------------------------------


def image_array(message: Image) -> NDArray:
    """Return the pixels (H, W) or (H, W, channels) as sent, in native byte order.

    Not by cv_bridge: it misreads rows whose padding is not a whole number of pixels, and fails
    on foreign byte orders with NumPy 2.

    Raises:
        ValueError: if the encoding is unknown or the data too short for its size.
    """
    return message_images.decode_message(message)


def rgb_image(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """Return colour as uint8 RGB (H, W, 3); raises ValueError if it is not a colour image."""
    if isinstance(message, CompressedImage):
        return message_images.decode_compressed_color(message.data)
    return message_images.color_to_rgb(image_array(message), message.encoding)


def depth_metres(message: Image | CompressedImage) -> NDArray[np.float32]:
    """Return depth (H, W) as float32 metres, 0 = no reading (REP-118)."""
    return message_images.in_metres(*depth_units(message))


def depth_units(message: Image | CompressedImage) -> tuple[NDArray[np.float32], bool]:
    """Return depth (H, W) in its original unit, 0 = no reading, and whether it was float."""
    if isinstance(message, CompressedImage):
        return message_images.compressed_depth_units(message.data, message.format)
    return message_images.depth_units(image_array(message), message.encoding)


def label_ids(message: Image) -> NDArray[np.int32]:
    """Return class ids (H, W) of a mono8 or 16UC1 image; 255 and 65535 become -1."""
    return message_images.labels_to_ids(image_array(message), message.encoding)


def image_message(pixels: NDArray, encoding: str, header: Header) -> Image:
    """Make an Image from pixels (H, W) or (H, W, channels)."""
    return Image(
        header=header,
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=pixels.strides[0] if pixels.flags.c_contiguous else pixels[0].nbytes,
        data=to_bytes(pixels),
    )


def label_message(labels: NDArray[np.int32], header: Header) -> Image:
    """Make a 16UC1 image of class ids, 65535 = none; raises ValueError for ids above 65534."""
    return image_message(ids_to_uint16(labels), "16UC1", header)


# --- cameras and poses ------------------------------------------------------------------------


def camera_from_info(
    info: CameraInfo, rectified: bool = False
) -> tuple[Camera, NDArray[np.float64]]:
    """Return the pinhole camera and distortion coefficients (possibly empty) of a CameraInfo; see
    ``read_camera_info``."""
    return read_camera_info(info, rectified)[:2]


def camera_info(camera: Camera, header: Header) -> CameraInfo:
    """Make the CameraInfo of an undistorted camera."""
    k = camera.matrix
    projection = np.hstack([k, np.zeros((3, 1))])
    return CameraInfo(
        header=header,
        height=camera.height,
        width=camera.width,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=k.ravel().tolist(),
        r=np.eye(3).ravel().tolist(),
        p=projection.ravel().tolist(),
    )


def matrix_from_transform(transform: Transform) -> NDArray[np.float64]:
    """Convert to a homogeneous matrix (4, 4), metres; the quaternion need not be normalised."""
    t, q = transform.translation, transform.rotation
    return make_transform(matrix_from_quaternion([q.x, q.y, q.z, q.w]), [t.x, t.y, t.z])


def matrix_from_pose(pose: Pose) -> NDArray[np.float64]:
    """Convert to a homogeneous matrix (4, 4), metres; the quaternion need not be normalised."""
    p, q = pose.position, pose.orientation
    return make_transform(matrix_from_quaternion([q.x, q.y, q.z, q.w]), [p.x, p.y, p.z])


def _quaternion(matrix: NDArray) -> Quaternion:
    x, y, z, w = quaternion_from_matrix(matrix[:3, :3]).tolist()
    return Quaternion(x=x, y=y, z=z, w=w)


def to_transform(matrix: NDArray) -> Transform:
    """Convert a homogeneous matrix (4, 4) to a Transform message."""
    x, y, z = matrix[:3, 3].tolist()
    return Transform(translation=Vector3(x=x, y=y, z=z), rotation=_quaternion(matrix))


def to_pose(matrix: NDArray) -> Pose:
    """Convert a homogeneous matrix (4, 4) to a Pose message."""
    x, y, z = matrix[:3, 3].tolist()
    return Pose(position=Point(x=x, y=y, z=z), orientation=_quaternion(matrix))


# --- clouds -----------------------------------------------------------------------------------

CLOUD_TYPE = np.dtype(
    [
        ("x", "<f4"),
        ("y", "<f4"),
        ("z", "<f4"),
        ("rgb", "<u4"),
        ("intensity", "<f4"),
        ("label", "<u4"),
        ("normal_x", "<f4"),
        ("normal_y", "<f4"),
        ("normal_z", "<f4"),
    ]
)
NO_LABEL_32 = 0xFFFFFFFF


def cloud_message(
    header: Header,
    xyz: NDArray,
    color: NDArray[np.uint8],
    intensity: NDArray,
    labels: NDArray,
    normals: NDArray,
) -> PointCloud2:
    """Make a cloud of N points: metres in ``header.frame_id``, packed rgb, intensity 0..1,
    class id (0xFFFFFFFF = none) and unit normals."""
    points = np.zeros(len(xyz), CLOUD_TYPE)
    for axis, name in enumerate("xyz"):
        points[name] = xyz[:, axis]
        points["normal_" + name] = normals[:, axis]
    r, g, b = color.astype(np.uint32).T
    points["rgb"] = (r << 16) | (g << 8) | b
    points["intensity"] = intensity
    points["label"] = np.where(labels < 0, NO_LABEL_32, labels)
    return PointCloud2(
        header=header,
        height=1,
        width=len(points),
        fields=_cloud_fields(),
        is_bigendian=False,
        point_step=CLOUD_TYPE.itemsize,
        row_step=CLOUD_TYPE.itemsize * len(points),
        data=to_bytes(points),
        is_dense=True,
    )


def unpacked_colors(packed: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return uint8 RGB (N, 3) of packed colours (N,)."""
    return np.stack([packed >> 16, packed >> 8, packed], axis=1).astype(np.uint8)


def _cloud_fields() -> list[PointField]:
    fields = []
    for name in CLOUD_TYPE.names or ():
        kind, offset = CLOUD_TYPE.fields[name][:2]  # type: ignore[index]
        # RViz and PCL expect rgb as a float whose bits are the packed colour.
        is_float = kind.kind == "f" or name == "rgb"
        datatype = PointField.FLOAT32 if is_float else PointField.UINT32
        fields.append(PointField(name=name, offset=int(offset), datatype=datatype, count=1))
    return fields


def cloud_arrays(message: PointCloud2) -> NDArray:
    """Return a cloud made by ``cloud_message`` as a structured array (N,) of ``CLOUD_TYPE``.

    Raises:
        ValueError: if the cloud has another layout.
    """
    if message.point_step != CLOUD_TYPE.itemsize:
        raise ValueError(
            f"expected a cloud with point_step {CLOUD_TYPE.itemsize}, got {message.point_step}"
        )
    return np.frombuffer(bytes(message.data), CLOUD_TYPE)


def surface_points(message: PointCloud2, origin: Vector3) -> SurfacePoints:
    """Return the points of a cloud made by ``cloud_message``; no latents, confidence 1.

    ``origin`` is the origin of the cloud's frame in the map frame.
    """
    cloud = cloud_arrays(message)
    return SurfacePoints(
        xyz=np.stack([cloud[axis] for axis in "xyz"], axis=1),
        normals=np.stack([cloud["normal_" + axis] for axis in "xyz"], axis=1),
        color=unpacked_colors(cloud["rgb"]),
        latent=np.zeros((len(cloud), 0), np.float16),
        label=cloud["label"].astype(np.int32),  # 0xFFFFFFFF becomes -1
        confidence=np.ones(len(cloud), np.float32),
        origin=np.array([origin.x, origin.y, origin.z]),
    )
