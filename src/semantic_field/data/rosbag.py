"""Reads posed RGB-D frames from rosbag2 recordings (sqlite3 and mcap)."""

from __future__ import annotations

import logging
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semantic_field.data import images
from semantic_field.data.bag_poses import PoseError
from semantic_field.data.bag_reader import BagReader, Message
from semantic_field.data.bag_topics import Topics, detect_topics, found, is_rectified
from semantic_field.data.bag_tracks import make_pose_source
from semantic_field.data.pose_check import MOVED, best_poses, depth_disagreement
from semantic_field.data.rectification import Rectifier
from semantic_field.frames import VOID_LABEL, Frame, split_void
from semantic_field.geometry import Camera

log = logging.getLogger(__name__)


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
        self.topics = detect_topics(self._reader.types, choice)
        self._poses = make_pose_source(
            self._reader, self.topics, pose_source, global_frame, camera_frame, tf_topic
        )
        self._cameras = CameraTrack(self._reader, self.topics)
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
        self.tf_topics = self._poses.tf_topics
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
        depth = self._decode(entry.depth, _decode_depth)
        rectify = self._cameras.rectifier(entry.color.stamp_ns)
        labels = None
        if entry.labels is not None:
            labels = self._decode(entry.labels, _decode_labels)
            labels[~np.isin(labels, list(self.label_names))] = VOID_LABEL
        expected = (rectify.camera.height, rectify.camera.width)
        for name, image in (("colour", color), ("depth", depth), ("label", labels)):
            if image is not None and image.shape[:2] != expected:
                raise ValueError(
                    f"expected {name} images of {expected} (height, width) as "
                    f"{self.topics.color_info} says, got {image.shape[:2]}; use the depth that is "
                    "registered to colour"
                )
        return Frame(
            stamp_ns=entry.color.stamp_ns,
            color=rectify.color(color),
            depth=rectify.depth(depth),
            camera=rectify.camera,
            T_world_camera=entry.T_world_camera,
            labels=None if labels is None else rectify.labels(labels),
        )

    def close(self) -> None:
        """Close the files."""
        self._reader.close()

    def _decode(self, message: Message, decode: Any) -> NDArray:
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
        skipped: Counter[str] = Counter()
        color = _without_duplicates(self._reader.index(self.topics.color), skipped)
        depth = pair(color, self._reader.index(self.topics.depth), slop_s)
        labels: dict[int, Message] = {}
        if self.label_names:
            labels = pair(color, self._reader.index(self.topics.labels), slop_s)
        elif self.topics.labels:
            skipped["labels_without_names"] += len(color)
        entries, detail = [], ""
        for position, message in enumerate(color):
            if position not in depth:
                skipped["stamps_apart"] += 1
                continue
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
            raise ValueError(
                f"expected frames with colour, depth and pose in {self.path}, got none: "
                f"{causes}{detail}; {found(self._reader.types)}"
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
        self._cameras.check_registered(self.topics)
        self[0]


class CameraTrack:
    """The camera of a recording, which may change."""

    def __init__(self, reader: BagReader, topics: Topics) -> None:
        self._rectified = is_rectified(topics.color)
        self._stamps: list[int] = []
        self._infos: list[Any] = []
        self._rectifiers: dict[int, Rectifier] = {}
        self._depth_info = None
        for message in reader.index(topics.color_info):
            info = reader.read(message)
            if not self._infos or _camera_values(info) != _camera_values(self._infos[-1]):
                self._stamps.append(message.stamp_ns)
                self._infos.append(info)
        if topics.depth_info:
            self._depth_info = next(info for _, info in reader.messages(topics.depth_info))

    def rectifier(self, stamp_ns: int) -> Rectifier:
        """What undistorts the images of that time; ValueError where CameraInfo is not filled in."""
        at = max(bisect_right(self._stamps, stamp_ns) - 1, 0)
        if at not in self._rectifiers:
            info = self._infos[at]
            k = np.asarray(info.p).reshape(3, 4) if self._rectified else info.k.reshape(3, 3)
            size = int(info.width), int(info.height)
            camera = Camera(k[0, 0], k[1, 1], k[0, 2], k[1, 2], *size)
            distortion = np.zeros(0) if self._rectified else info.d
            self._rectifiers[at] = Rectifier(camera, distortion, info.distortion_model)
        return self._rectifiers[at]

    def check_registered(self, topics: Topics) -> None:
        """ValueError where depth is the picture of another camera than colour."""
        if self._depth_info is None:
            return
        color, depth = self._infos[0], self._depth_info
        other_frame = color.header.frame_id != depth.header.frame_id
        if other_frame and not np.allclose(color.k, depth.k, rtol=0.02):
            raise ValueError(
                f"expected depth registered to colour, {topics.depth} is seen from frame "
                f"{depth.header.frame_id!r} with its own intrinsics; record the aligned depth "
                "(such as aligned_depth_to_color/image_raw) or set depth_topic"
            )


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
        "fixed frame, a PoseStamped or an Odometry topic, or set pose_source"
    ]


def _camera_values(info: Any) -> tuple:
    return (info.width, info.height, info.distortion_model, *info.k, *info.d, *info.p)


def _without_duplicates(messages: list[Message], skipped: Counter[str]) -> list[Message]:
    """One message per stamp: recordings of a looped replay repeat theirs."""
    unique = {message.stamp_ns: message for message in messages}
    if len(unique) < len(messages):
        skipped["duplicate_stamp"] += len(messages) - len(unique)
    return list(unique.values())


def pair(first: list[Message], second: list[Message], slop_s: float) -> dict[int, Message]:
    """For positions in ``first``, the message of ``second`` nearest in time.

    Both lists are sorted by stamp. A pair is only made where each is the other's nearest and
    their stamps differ by at most ``slop_s``, so nothing is used twice.
    """
    stamps, own = [m.stamp_ns for m in second], [m.stamp_ns for m in first]
    pairs = {}
    for position, stamp in enumerate(own):
        partner = _nearest(stamps, stamp)
        if partner is None or abs(stamps[partner] - stamp) > slop_s * 1e9:
            continue
        if _nearest(own, stamps[partner]) == position:
            pairs[position] = second[partner]
    return pairs


def _nearest(stamps: list[int], stamp: int) -> int | None:
    after = bisect_left(stamps, stamp)
    around = [i for i in (after - 1, after) if 0 <= i < len(stamps)]
    return min(around, key=lambda i: abs(stamps[i] - stamp), default=None)


def _decode_color(message: Any) -> NDArray[np.uint8]:
    if not hasattr(message, "encoding"):
        return images.decode_compressed_color(message.data)
    return images.color_to_rgb(images.decode_message(message), message.encoding)


def _decode_depth(message: Any) -> NDArray[np.float32]:
    if not hasattr(message, "encoding"):
        return images.decode_compressed_depth(message.data, message.format)
    return images.depth_to_metres(images.decode_message(message), message.encoding)


def _decode_labels(message: Any) -> NDArray[np.int32]:
    if not hasattr(message, "encoding"):
        return images.decode_compressed_labels(message.data)
    return images.labels_to_ids(images.decode_message(message), message.encoding)
