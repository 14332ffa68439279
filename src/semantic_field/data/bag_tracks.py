"""Where the camera was in a recording: from TF, a pose topic or an odometry topic."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.bag_poses import Pose, PoseError, Track, TransformTree
from semantic_field.data.bag_reader import BagReader
from semantic_field.data.bag_topics import Topics, found

DEFAULT_GLOBAL_FRAME = "map"
MAX_GAP_S = 0.5  # between messages of a pose or odometry topic


class PoseSource(Protocol):
    """Camera poses by time."""

    global_frame: str

    def at(self, stamp_ns: int, frame_id: str) -> Pose:
        """``T_world_camera`` for an image of that frame_id; PoseError where there is none."""
        ...


class TfPoses:
    """Poses from TF."""

    def __init__(self, tree: TransformTree, global_frame: str, camera_frame: str) -> None:
        self.global_frame = global_frame
        self._tree, self._camera_frame = tree, camera_frame

    def at(self, stamp_ns: int, frame_id: str) -> Pose:
        camera = self._camera_frame or frame_id
        if not camera:
            raise PoseError("no_transform", "the images have no frame_id; set camera_frame")
        if not self.global_frame:
            frames = self._tree.frames()
            known = DEFAULT_GLOBAL_FRAME in frames
            self.global_frame = DEFAULT_GLOBAL_FRAME if known else self._tree.root(camera)
        return self._tree.at(self.global_frame, camera, stamp_ns)


class TopicPoses:
    """Poses from messages of one topic, with TF for what lies between these and the camera."""

    def __init__(
        self, track: Track, child: str, tree: TransformTree, global_frame: str, camera_frame: str
    ) -> None:
        self.global_frame = global_frame
        self._track, self._child, self._tree = track, child, tree
        self._camera_frame = camera_frame

    def at(self, stamp_ns: int, frame_id: str) -> Pose:
        parent, T_parent_child = self._track.at(stamp_ns)
        self.global_frame = self.global_frame or parent
        if parent and parent != self.global_frame:
            T_parent_child = self._tree.at(self.global_frame, parent, stamp_ns) @ T_parent_child
        camera = self._camera_frame or frame_id
        if self._child and self._child != camera:
            T_parent_child = T_parent_child @ self._tree.at(self._child, camera, stamp_ns)
        return T_parent_child


def make_pose_source(
    reader: BagReader, topics: Topics, kind: str, global_frame: str, camera_frame: str
) -> PoseSource:
    """The poses of a recording; see ``BagSource``. ValueError where the bag has none."""
    if kind not in ("auto", "tf", "pose", "odometry"):
        raise ValueError(f"expected pose_source auto, tf, pose or odometry, got {kind!r}")
    available = {"tf": topics.tf, "pose": topics.pose, "odometry": topics.odometry}
    if kind == "auto":
        kind = next((name for name, topic in available.items() if topic), "")
    if not kind or not available[kind]:
        raise ValueError(
            "expected camera poses as /tf, a PoseStamped or an Odometry topic; set pose_source and "
            f"pose_topic or odometry_topic; {found(reader.types)}"
        )
    tree = read_tree(reader, topics.tf)
    if kind == "tf":
        return TfPoses(tree, global_frame, camera_frame)
    track, child = _read_track(reader, topics.pose if kind == "pose" else topics.odometry)
    return TopicPoses(track, child, tree, global_frame, camera_frame)


def read_tree(reader: BagReader, topics: tuple[str, ...]) -> TransformTree:
    """All transforms of the recording; those of a topic named …tf_static hold at all times."""
    tree = TransformTree()
    for topic, message in reader.messages(*topics):
        for item in message.transforms:
            tree.add(
                item.header.frame_id,
                item.child_frame_id,
                _stamp(item.header),
                _vector(item.transform.translation),
                _quaternion(item.transform.rotation),
                static=topic.endswith("tf_static"),
            )
    return tree


def _read_track(reader: BagReader, topic: str) -> tuple[Track, str]:
    """The poses of a topic and the frame they are of (empty: the camera itself)."""
    track, child = Track(topic, MAX_GAP_S), ""
    for _, message in reader.messages(topic):
        child = getattr(message, "child_frame_id", "").lstrip("/")
        pose = message.pose.pose if hasattr(message, "child_frame_id") else message.pose
        parent = message.header.frame_id.lstrip("/")
        track.add(
            _stamp(message.header), parent, _vector(pose.position), _quaternion(pose.orientation)
        )
    return track, child


def _stamp(header: Any) -> int:
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


def _vector(v: Any) -> NDArray[np.float64]:
    return np.array([v.x, v.y, v.z])


def _quaternion(q: Any) -> NDArray[np.float64]:
    return np.array([q.x, q.y, q.z, q.w])
