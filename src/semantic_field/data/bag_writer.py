"""rosbag2 writer for any ``FrameSource``; `ros2 bag info` and `ros2 bag play` accept the result."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer

from semantic_field.data.bag_types import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    LABEL_INFO_TYPE,
    TF,
    typestore,
)
from semantic_field.data.folder_writer import depth_millimetres, ids_to_uint16, new_folder
from semantic_field.data.sources import FrameSource
from semantic_field.frames import Frame
from semantic_field.geometry import (
    Camera,
    invert_transform,
    make_transform,
    quaternion_from_matrix,
)

# Version 8 is read by every distribution from Humble on; 9 only from Jazzy on.
METADATA_VERSION: Final = 8
STORAGES: Final = {"sqlite3": StoragePlugin.SQLITE3, "mcap": StoragePlugin.MCAP}
COLOR: Final = "/camera/color"
DEPTH: Final = "/camera/depth"
LABELS: Final = "/camera/labels"
JPEG_QUALITY: Final = 95
FIRST_STAMP_NS: Final = 1_000_000_000

_FOREVER: Final = QosTime(9223372036, 854775807)


def _qos(depth: int, durability: QosDurability = QosDurability.VOLATILE) -> Qos:
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=depth,
        reliability=QosReliability.RELIABLE,
        durability=durability,
        deadline=_FOREVER,
        lifespan=_FOREVER,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=_FOREVER,
        avoid_ros_namespace_conventions=False,
    )


STREAM, TRANSFORMS = _qos(10), _qos(100)
LATCHED = _qos(1, QosDurability.TRANSIENT_LOCAL)  # published once; also for late subscribers
# Optical axes (x right, y down, z forward) in camera_link (x forward, y left, z up; REP-103).
_T_LINK_OPTICAL: Final = make_transform([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], [0, 0, 0])
_T_BASE_LINK: Final = make_transform(np.eye(3), [0.1, 0.0, 0.5])


@dataclass(frozen=True)
class FrameIds:
    """Names of the TF frames of a written bag: world, robot, camera, optical frame."""

    world: str = "map"
    base: str = "base_link"
    link: str = "camera_link"
    optical: str = "camera_color_optical_frame"


def write_bag(
    source: FrameSource,
    path: str | Path,
    storage: str = "sqlite3",
    rate_hz: float | None = None,
    compressed: bool = False,
    frames: FrameIds | None = None,
    indices: Iterable[int] | None = None,
) -> None:
    """Write the frames of ``source`` to the new rosbag2 directory ``path``.

    Topics: /camera/color/image_raw (rgb8), /camera/depth/image_raw (16UC1 millimetres), a
    camera_info for each, /tf, /tf_static, and if there are labels /camera/labels/image
    (mono8, or 16UC1 for ids from 255 on) with /camera/labels/label_info.

    Args:
        storage: "sqlite3" or "mcap".
        rate_hz: new stamps at this rate; None keeps the source's.
        compressed: JPEG colour and PNG depth instead, on the topics of image_transport.
        frames: names of the TF frames.
        indices: the frames to write; None writes all. (A progress bar may wrap them.)
    Raises:
        ValueError: if ``path`` exists, on an unknown storage, or a source without frames.
        OSError: if there is not enough disk space. On errors no partial bag is left.
    """
    path = Path(path)
    if storage not in STORAGES:
        raise ValueError(f"expected storage {' or '.join(STORAGES)}, got {storage!r}")
    if len(source) == 0 or (rate_hz is not None and not rate_hz > 0):
        raise ValueError(f"expected frames and rate_hz > 0, got {len(source)} frames, {rate_hz}")
    with new_folder(path) as folder:
        _check_space(source, folder, compressed)
        folder.rmdir()  # the storage creates it
        try:
            with Writer(
                folder, version=METADATA_VERSION, storage_plugin=STORAGES[storage]
            ) as writer:
                bag = _Bag(writer, source, compressed, frames or FrameIds())
                _write_frames(
                    bag, source, rate_hz, range(len(source)) if indices is None else indices
                )
        except sqlite3.OperationalError as error:
            raise OSError(f"expected room for the bag at {path}, got: {error}") from error


def _write_frames(
    bag: _Bag, source: FrameSource, rate_hz: float | None, indices: Iterable[int]
) -> None:
    for position, index in enumerate(indices):
        frame = source[index]
        stamp = frame.stamp_ns
        if rate_hz is not None:
            stamp = FIRST_STAMP_NS + round(position * 1e9 / rate_hz)
        bag.write(frame, stamp)


def _check_space(source: FrameSource, folder: Path, compressed: bool) -> None:
    pixels = source[0].depth.size * len(source)
    needed = pixels * (1 if compressed else 3 + 2) + pixels * bool(source.label_names)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"expected about {needed / 1e9:.1f} GB of free disk for the bag, got "
            f"{free / 1e9:.1f} GB at {folder.parent}"
        )


class _Bag:
    """The topics of a bag that is being written."""

    def __init__(
        self, writer: Writer, source: FrameSource, compressed: bool, frames: FrameIds
    ) -> None:
        self._writer, self._compressed, self._frames = writer, compressed, frames
        self._types = typestore().types
        self._names = source.label_names
        self._connections: dict[str, Connection] = {}
        kind = COMPRESSED_IMAGE if compressed else IMAGE
        self._color = f"{COLOR}/image_raw" + ("/compressed" if compressed else "")
        self._depth = f"{DEPTH}/image_raw" + ("/compressedDepth" if compressed else "")
        self._add("/tf_static", TF, LATCHED)
        self._add("/tf", TF, TRANSFORMS)
        for topic in (f"{COLOR}/camera_info", f"{DEPTH}/camera_info"):
            self._add(topic, CAMERA_INFO, STREAM)
        self._add(self._color, kind, STREAM)
        self._add(self._depth, kind, STREAM)
        if self._names:
            self._add(f"{LABELS}/image", IMAGE, STREAM)
            self._add(f"{LABELS}/label_info", LABEL_INFO_TYPE, LATCHED)
        self._started = False

    def _add(self, topic: str, kind: str, qos: Qos) -> None:
        self._connections[topic] = self._writer.add_connection(
            topic, kind, typestore=typestore(), offered_qos_profiles=[qos]
        )

    def _send(self, topic: str, stamp: int, message: Any) -> None:
        connection = self._connections[topic]
        data = typestore().serialize_cdr(message, connection.msgtype)
        self._writer.write(connection, stamp, data)

    def write(self, frame: Frame, stamp: int) -> None:
        """Write all messages of one frame; the first call also writes static ones."""
        if not self._started:
            self._start(stamp)
            self._started = True
        T_world_base = frame.T_world_camera @ invert_transform(_T_BASE_LINK @ _T_LINK_OPTICAL)
        moving = self._transform(stamp, self._frames.world, self._frames.base, T_world_base)
        self._send("/tf", stamp, self._new(TF, transforms=[moving]))
        info = self._camera_info(frame.camera, stamp)
        for topic in (f"{COLOR}/camera_info", f"{DEPTH}/camera_info"):
            self._send(topic, stamp, info)
        millimetres = depth_millimetres(frame.depth)
        if self._compressed:
            self._send(self._color, stamp, self._jpeg(frame.color, stamp))
            self._send(self._depth, stamp, self._depth_png(millimetres, stamp))
        else:
            self._send(self._color, stamp, self._image(frame.color, "rgb8", stamp))
            self._send(self._depth, stamp, self._image(millimetres, "16UC1", stamp))
        if frame.labels is not None and self._names:
            self._send(f"{LABELS}/image", stamp, self._label_image(frame.labels, stamp))

    def _start(self, stamp: int) -> None:
        names = self._frames
        fixed = [
            self._transform(stamp, names.base, names.link, _T_BASE_LINK),
            self._transform(stamp, names.link, names.optical, _T_LINK_OPTICAL),
        ]
        self._send("/tf_static", stamp, self._new(TF, transforms=fixed))
        if self._names:
            classes = [
                self._new("vision_msgs/msg/VisionClass", class_id=i, class_name=name)
                for i, name in sorted(self._names.items())
            ]
            info = self._new(
                LABEL_INFO_TYPE, header=self._header(stamp), class_map=classes, threshold=0.0
            )
            self._send(f"{LABELS}/label_info", stamp, info)

    def _new(self, kind: str, **fields: Any) -> Any:
        return self._types[kind](**fields)

    def _header(self, stamp: int, frame_id: str = "") -> Any:
        sec, nanosec = divmod(stamp, 1_000_000_000)
        time = self._new("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
        return self._new("std_msgs/msg/Header", stamp=time, frame_id=frame_id)

    def _transform(self, stamp: int, parent: str, child: str, T: NDArray) -> Any:
        x, y, z = T[:3, 3].tolist()
        qx, qy, qz, qw = quaternion_from_matrix(T[:3, :3]).tolist()
        return self._new(
            "geometry_msgs/msg/TransformStamped",
            header=self._header(stamp, parent),
            child_frame_id=child,
            transform=self._new(
                "geometry_msgs/msg/Transform",
                translation=self._new("geometry_msgs/msg/Vector3", x=x, y=y, z=z),
                rotation=self._new("geometry_msgs/msg/Quaternion", x=qx, y=qy, z=qz, w=qw),
            ),
        )

    def _camera_info(self, camera: Camera, stamp: int) -> Any:
        return self._new(
            CAMERA_INFO,
            header=self._header(stamp, self._frames.optical),
            height=camera.height,
            width=camera.width,
            distortion_model="plumb_bob",
            d=np.zeros(5),
            k=camera.matrix.ravel(),
            r=np.eye(3).ravel(),
            p=np.hstack([camera.matrix, np.zeros((3, 1))]).ravel(),
            binning_x=0,
            binning_y=0,
            roi=self._new(
                "sensor_msgs/msg/RegionOfInterest",
                x_offset=0,
                y_offset=0,
                height=0,
                width=0,
                do_rectify=False,
            ),
        )

    def _image(self, pixels: NDArray, encoding: str, stamp: int) -> Any:
        pixels = np.ascontiguousarray(pixels)
        return self._new(
            IMAGE,
            header=self._header(stamp, self._frames.optical),
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            is_bigendian=0,
            step=pixels.strides[0],
            data=pixels.reshape(-1).view(np.uint8),
        )

    def _label_image(self, labels: NDArray[np.int32], stamp: int) -> Any:
        if max(self._names) >= 255:
            return self._image(ids_to_uint16(labels), "16UC1", stamp)
        if labels.max(initial=0) >= 255:
            raise ValueError(f"expected label ids up to {max(self._names)}, got {labels.max()}")
        return self._image(np.where(labels < 0, 255, labels).astype(np.uint8), "mono8", stamp)

    def _jpeg(self, color: NDArray[np.uint8], stamp: int) -> Any:
        bgr = np.asarray(cv2.cvtColor(color, cv2.COLOR_RGB2BGR))
        encoded = _encode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        return self._packed("rgb8; jpeg compressed bgr8", encoded, stamp)

    def _depth_png(self, millimetres: NDArray[np.uint16], stamp: int) -> Any:
        """Encode as compressed_depth_image_transport does: a 12-byte header, then the PNG."""
        encoded = np.concatenate([np.zeros(12, np.uint8), _encode(".png", millimetres, [])])
        return self._packed("16UC1; compressedDepth png", encoded, stamp)

    def _packed(self, kind: str, data: NDArray[np.uint8], stamp: int) -> Any:
        header = self._header(stamp, self._frames.optical)
        return self._new(COMPRESSED_IMAGE, header=header, format=kind, data=data)


def _encode(suffix: str, image: NDArray, options: list[int]) -> NDArray[np.uint8]:
    ok, encoded = cv2.imencode(suffix, image, options)
    if not ok:
        raise ValueError(f"expected an image that {suffix} can hold, got {image.dtype}")
    return np.asarray(encoded, np.uint8).ravel()
