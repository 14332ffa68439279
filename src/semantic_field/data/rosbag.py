"""Reads posed RGB-D frames from rosbag2 recordings (sqlite3 and mcap)."""

from __future__ import annotations

import logging
from bisect import bisect_right
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semantic_field.data import message_images
from semantic_field.data.bag_pairing import pair, with_stamps
from semantic_field.data.bag_poses import PoseError
from semantic_field.data.bag_reader import BagReader, Message
from semantic_field.data.bag_registration import DepthRegistration
from semantic_field.data.bag_topics import Topics, detect_topics, found, is_rectified
from semantic_field.data.bag_tracks import make_pose_source
from semantic_field.data.camera_files import parse_camera
from semantic_field.data.camera_info import read_camera_info
from semantic_field.data.depth_units import DepthUnit, message_unit
from semantic_field.data.image_files import fitted_labels
from semantic_field.data.pose_check import MOVED, best_poses, depth_disagreement
from semantic_field.data.rectification import Rectifier
from semantic_field.frames import VOID_LABEL, Frame, split_void
from semantic_field.geometry import Camera

log = logging.getLogger(__name__)
_SET_STAMPS = "let the driver set header.stamp to the time of the image, and record again"
STAMPS = {
    "zero_stamp": f"zero_stamp: header.stamp is 0, the driver left it empty; {_SET_STAMPS}",
    "negative_stamp": f"negative_stamp: header.stamp lies before 1970; {_SET_STAMPS}",
    "constant_stamp": f"constant_stamp: all images have one header.stamp; {_SET_STAMPS}",
}


@dataclass(frozen=True)
class Entry:
    """One usable frame: where its images lie and where the camera was."""

    color: Message
    depth: Message
    labels: Message | None
    T_world_camera: NDArray[np.float64]


class BagSource:
    """A rosbag2 as a list of frames, decoded when they are asked for.

    Args:
        path: the bag's directory, or a .db3 or .mcap file.
        color_topic, depth_topic, labels_topic, color_info_topic, label_info_topic, pose_topic,
            odometry_topic: found by type and name where they are empty.
        labels: "auto", or "none" to leave label images alone.
        pose_source: "tf", "pose" (PoseStamped, of the camera or of what it is mounted on),
            "odometry" (with TF from its child frame to the camera), or "auto": TF where
            something moves above the camera, else the topic that moves.
        global_frame: the world; empty: "map" where TF has it, else the root of the camera's tree.
        camera_frame: the optical frame; empty: the frame_id of the colour images.
        tf_topic: a topic of the TF to use; empty: that of the colour images' namespace.
        slop_s: largest stamp difference of the images of a frame, seconds.
        camera: "FX,FY,CX,CY[,W,H]" of the colour images, without distortion, in place of the
            CameraInfo.
        depth_scale: metres of one unit of the depth images; else as their encoding says, and for
            floats as their values say.
        register: move the depth of another camera to the colour camera, with TF and its
            CameraInfo; False takes depth as it is; None refuses depth of another camera.
    Attributes:
        stamps: of the frames, nanoseconds.
        skipped: how many colour images are not used, by cause.
        global_frame: the frame that poses are given in.
        pose_source: "tf", "pose" or "odometry", what poses are taken from.
        pose_frame: the frame that the messages of a pose topic are of; empty: the camera's.
        tf_topics: the TF topics of the camera's namespace.
        notes: what is doubtful about the recording, as sentences; also logged as warnings.
    Raises:
        ValueError: damaged bag, topics missing or in question, no frame that can be used.
    """

    def __init__(
        self,
        path: str | Path,
        color_topic: str = "",
        depth_topic: str = "",
        labels_topic: str = "",
        color_info_topic: str = "",
        label_info_topic: str = "",
        pose_topic: str = "",
        odometry_topic: str = "",
        labels: str = "auto",
        pose_source: str = "auto",
        global_frame: str = "",
        camera_frame: str = "",
        slop_s: float = 0.03,
        camera: str | Camera = "",
        depth_scale: float | None = None,
        register: bool | None = None,
        tf_topic: str = "",
    ) -> None:
        self.path = Path(path)
        self.name = self.path.resolve().stem
        if labels not in ("auto", "none"):
            raise ValueError(f"expected labels auto or none for a bag, got {labels!r}")
        self._reader = BagReader(self.path)
        choice = {
            "color": color_topic,
            "depth": depth_topic,
            "labels": labels_topic,
            "color_info": color_info_topic,
            "label_info": label_info_topic,
            "pose": pose_topic,
            "odometry": odometry_topic,
            "tf": tf_topic,
        }
        self.topics = detect_topics(self._reader.types, choice, need_info=not camera)
        self._poses = make_pose_source(
            self._reader, self.topics, pose_source, global_frame, camera_frame, tf_topic
        )
        self._cameras = CameraTrack(self._reader, self.topics, camera)
        self._units: dict[bool, DepthUnit] = {}
        self._depth_scale = depth_scale
        self._registration = DepthRegistration(
            self._reader, self.topics, self._poses.tree, register, camera_frame
        )
        self._wants_labels = labels != "none"
        self.label_names, self._void = self._read_label_names(labels)
        self.skipped: dict[str, int] = {}
        self._slop_s = slop_s
        self._entries = self._find_entries(slop_s)
        self.stamps = [entry.color.stamp_ns for entry in self._entries]
        self.global_frame = self._poses.global_frame
        self._check_first()
        if len(self._poses.mounts) > 1:
            self._choose_mount()
        self.pose_source, self.pose_frame = self._poses.kind, self._poses.pose_frame
        self.tf_topics = self._poses.tree.topics
        self.notes = [*self._poses.remarks, *_stillness(self)]
        for note in self.notes:
            log.warning("%s: %s", self.path, note)

    @property
    def poses(self) -> list[NDArray[np.float64]]:
        """``T_world_camera`` of all frames."""
        return [entry.T_world_camera for entry in self._entries]

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Frame:
        """The frame at 0..len-1, undistorted.

        Raises:
            ValueError: damaged image, an encoding that is not supported, or sizes that differ.
        """
        entry = self._entries[index]
        color = self._decode(entry.color, _decode_color)
        rectify = self._cameras.rectifier(entry.color.stamp_ns, color.shape)
        self._check_size("colour", color, rectify.camera, self.topics.color_info)
        depth = self._depth(entry, rectify)
        return Frame(
            stamp_ns=entry.color.stamp_ns,
            color=rectify.color(color),
            depth=depth,
            camera=rectify.camera,
            T_world_camera=entry.T_world_camera,
            labels=self._read_labels(index, rectify),
        )

    def _depth(self, entry: Entry, rectify: Rectifier) -> NDArray[np.float32]:
        """Metres, undistorted, from the colour camera."""
        units, is_float = self._decode(entry.depth, _decode_depth)
        unit = message_unit(self.topics.depth, is_float, self._depth_scale)
        depth = self._units.setdefault(is_float, unit).to_metres(units)
        if self._registration.moves:
            return self._registration.moved(depth, rectify.camera)
        self._check_size("depth", depth, rectify.camera, self.topics.color_info)
        return rectify.depth(depth)

    def _check_size(self, name: str, image: NDArray, camera: Camera, where: str) -> None:
        expected = (camera.height, camera.width)
        if image.shape[:2] == expected:
            return
        remedy = (
            "give the camera of these images: --camera FX,FY,CX,CY,W,H"
            if name == "colour"
            else "take the depth that is registered to colour (--depth-topic), or --register"
        )
        raise ValueError(
            f"expected {name} images of {expected} (height, width) as {where or '--camera'} says, "
            f"got {image.shape[:2]}; {remedy}"
        )

    def _read_labels(self, index: int, rectify: Rectifier) -> NDArray[np.int32] | None:
        """Class ids at the size of the colour images; None without, or of another shape."""
        message = self._entries[index].labels
        if message is None:
            return None
        ids = self._decode(message, _decode_labels)
        labels = fitted_labels(ids, (rectify.camera.height, rectify.camera.width))
        if labels is None:
            self._leave_labels_out(index, ids.shape)
            return None
        labels[~np.isin(labels, list(self.label_names))] = VOID_LABEL
        return rectify.labels(labels)

    def _leave_labels_out(self, index: int, shape: tuple[int, ...]) -> None:
        """Count a label image of another shape; if it is the first, all of its topic."""
        every = range(len(self)) if index == 0 else [index]
        left_out = [i for i in every if self._entries[i].labels is not None]
        for i in left_out:
            self._entries[i] = replace(self._entries[i], labels=None)
        cause = "labels_of_another_shape"
        if cause not in self.skipped:
            log.warning(
                "%s: label images of %s (height, width) show another part of the scene than the "
                "colour images; labels are left out",
                self.topics.labels,
                shape,
            )
        self.skipped[cause] = self.skipped.get(cause, 0) + len(left_out)

    def close(self) -> None:
        """Close the files."""
        self._reader.close()

    def _decode(self, message: Message, decode: Any) -> Any:
        try:
            return decode(self._reader.read(message))
        except ValueError as error:
            topic, stamp = message.connection.topic, message.stamp_ns
            raise ValueError(f"image {stamp} ns of {topic}: {error}") from error

    def _read_label_names(self, labels: str) -> tuple[dict[int, str], frozenset[int]]:
        names: dict[int, str] = {}
        if labels == "none" or not (self.topics.labels and self.topics.label_info):
            return {}, frozenset()
        for _, message in self._reader.messages(self.topics.label_info):
            names |= {int(item.class_id): str(item.class_name) for item in message.class_map}
        return split_void(names)

    def _find_entries(self, slop_s: float) -> list[Entry]:
        color, skipped = with_stamps(self._reader.index(self.topics.color))
        depths, lost = with_stamps(self._reader.index(self.topics.depth))
        depth = pair(color, depths, slop_s)
        labels: dict[int, Message] = {}
        if self.label_names:
            labels = pair(color, with_stamps(self._reader.index(self.topics.labels))[0], slop_s)
        elif self.topics.labels and self._wants_labels:
            skipped["labels_without_names"] += len(color)
        entries, detail, last_stamp = [], "", 0
        for position, message in enumerate(color):
            if position not in depth:
                # Depth images without a time of their own are why there is no pair.
                cause = next((cause for cause in lost if lost[cause] > 0), "stamps_apart")
                lost[cause] -= 1
                skipped[cause] += 1
                continue
            if message.stamp_ns == last_stamp:
                skipped["duplicate_stamp"] += 1  # its pose is that of the first image
                continue
            last_stamp = message.stamp_ns
            try:
                pose = np.asarray(self._poses.at(message.stamp_ns, message.frame_id), np.float64)
            except PoseError as error:
                skipped[error.cause] += 1
                detail = detail or f"; {error}"
                continue
            entries.append(Entry(message, depth[position], labels.get(position), pose))
        self.skipped = dict(skipped)
        if not entries:
            causes = ", ".join(f"{n} {cause}" for cause, n in skipped.items()) or "no images"
            remedies = "".join(f"; {STAMPS[cause]}" for cause in skipped if cause in STAMPS)
            raise ValueError(
                f"expected frames with colour, depth and pose in {self.path}, got none: "
                f"{causes}{detail}{remedies}; {found(self._reader.types)}"
            )
        return entries

    def _choose_mount(self) -> None:
        """Let the depth images say which frame the poses of a topic are of, where it does not."""
        choices = {}
        for mount in self._poses.mounts:
            self._poses.pose_frame = mount
            choices[mount] = self._find_entries(self._slop_s)
        stamps = [{e.color.stamp_ns for e in entries} for entries in choices.values()]
        shared = sorted(set.intersection(*stamps))
        placed = [
            [e.T_world_camera for e in entries if e.color.stamp_ns in shared]
            for entries in choices.values()
        ]
        numbers = {stamp: number for number, stamp in enumerate(self.stamps)}
        off = best_poses(lambda i: self[numbers[shared[i]]], placed)
        mount = list(choices)[int(np.argmin(np.nan_to_num(off, nan=np.inf)))]
        self._poses.pose_frame, self._entries = mount, choices[mount]
        self.stamps = [entry.color.stamp_ns for entry in self._entries]

    def _check_first(self) -> None:
        """Decode one frame now, so that a wrong encoding or size shows when the bag is opened."""
        first = self._entries[0]
        stamp = first.color.stamp_ns
        self._registration.check(first.color.frame_id, first.depth.frame_id, stamp, self)
        self[0]


class CameraTrack:
    """The camera of a recording, which may change.

    Args:
        given: the camera of all images, in place of their CameraInfo; see ``parse_camera``.
    """

    def __init__(self, reader: BagReader, topics: Topics, given: str | Camera = "") -> None:
        self._rectified = is_rectified(topics.color)
        self._topic, self._given = topics.color_info, given
        self._stamps: list[int] = []
        self._infos: list[Any] = []
        self._rectifiers: dict[int, Rectifier] = {}
        if given:
            return
        for message in reader.index(topics.color_info):
            info = reader.read(message)
            if not self._infos or _camera_values(info) != _camera_values(self._infos[-1]):
                self._stamps.append(message.stamp_ns)
                self._infos.append(info)

    def rectifier(self, stamp_ns: int, shape: tuple[int, ...]) -> Rectifier:
        """What undistorts the images (height, width, …) of that time; ValueError where CameraInfo
        is not filled in."""
        at = max(bisect_right(self._stamps, stamp_ns) - 1, 0)
        if at not in self._rectifiers:
            self._rectifiers[at] = self._make(at, (shape[1], shape[0]))
        return self._rectifiers[at]

    def _make(self, at: int, size: tuple[int, int]) -> Rectifier:
        if self._given:
            return Rectifier(parse_camera(self._given, size))
        try:
            return Rectifier(*read_camera_info(self._infos[at], self._rectified))
        except ValueError as error:
            raise ValueError(f"{self._topic}: {error}") from error


def _stillness(source: BagSource) -> list[str]:
    """A sentence where all poses are one, and whether the images say so too."""
    poses = source.poses
    if len(poses) < 2 or any(not np.allclose(pose, poses[0], atol=1e-6) for pose in poses):
        return []
    first, off = source[0], 0.0
    for index in {len(source) // 2, len(source) - 1}:
        off = np.nanmax([off, depth_disagreement(first, source[index], np.eye(4))])
    seen = "but the depth images say that it does" if off > MOVED else "as the depth images say"
    return [
        f"all {len(poses)} frames have one pose: the camera does not move in "
        f"{source.global_frame!r} ({source.pose_source}), {seen}; if it did, record TF up to a "
        "fixed frame, a PoseStamped or an Odometry topic, or set --pose-source"
    ]


def _camera_values(info: Any) -> tuple:
    roi = info.roi
    window = (roi.x_offset, roi.y_offset, roi.width, roi.height, info.binning_x, info.binning_y)
    return (info.width, info.height, info.distortion_model, *info.k, *info.d, *info.p, *window)


def _decode_color(message: Any) -> NDArray[np.uint8]:
    if not hasattr(message, "encoding"):
        return message_images.decode_compressed_color(message.data)
    return message_images.color_to_rgb(message_images.decode_message(message), message.encoding)


def _decode_depth(message: Any) -> tuple[NDArray[np.float32], bool]:
    """Depth in its own unit, and whether its encoding is of floats."""
    if not hasattr(message, "encoding"):
        return message_images.compressed_depth_units(message.data, message.format)
    return message_images.depth_units(message_images.decode_message(message), message.encoding)


def _decode_labels(message: Any) -> NDArray[np.int32]:
    if not hasattr(message, "encoding"):
        return message_images.decode_compressed_labels(message.data)
    return message_images.labels_to_ids(message_images.decode_message(message), message.encoding)
