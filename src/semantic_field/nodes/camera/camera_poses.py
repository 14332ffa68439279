"""Where the camera was when an image was taken: from TF, or from a pose or odometry topic."""

from __future__ import annotations

import bisect
from typing import Protocol

import numpy as np
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Header
from tf2_ros import TransformException, TransformListener

from semantic_field.config import InputConfig
from semantic_field.data.bag_poses import MAX_GAP_S
from semantic_field.geometry import check_transform, interpolate_transform
from semantic_field.nodes.camera.transforms import BACKWARD_NS, RewindingBuffer
from semantic_field.nodes.ros.conversions import (
    matrix_from_pose,
    matrix_from_transform,
    to_nanoseconds,
)
from semantic_field.nodes.ros.qos import SENSOR

Pose = NDArray[np.float64]
MAX_POSES = 2000


class PoseNotAvailable(LookupError):
    """The pose at a stamp is not known (yet): ``cause`` is a key of the drop remedies."""

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause


class PoseLookup(Protocol):
    """``T_global_camera`` at the header's stamp; PoseNotAvailable while it is not known."""

    def lookup(self, header: Header) -> Pose: ...

    def frames_between(self, target: str, source: str, header: Header) -> Pose | None:
        """``T_target_source`` of two frames of TF at the header's stamp; None where TF does not
        know it."""
        ...

    def clear(self) -> None:
        """Forget all poses but the static ones."""
        ...

    def rewind(self, stamp_ns: int) -> None:
        """Time went back to a stamp: forget what was known before, if that is not done yet."""
        ...

    def close(self) -> None:
        """Stop listening."""
        ...


class TfPoses:
    """Poses from /tf and /tf_static."""

    def __init__(self, node: Node, global_frame: str) -> None:
        self._frame = global_frame
        self._buffer = RewindingBuffer()
        self._listener = TransformListener(self._buffer, node)

    def lookup(self, header: Header) -> Pose:
        return self.between(self._frame, header.frame_id, Time.from_msg(header.stamp))

    def between(self, target: str, source: str, time: Time) -> Pose:
        """``T_target_source`` at a time (zero = the newest)."""
        target, source = target.lstrip("/"), source.lstrip("/")
        try:
            found = self._buffer.lookup_transform(target, source, time)
        except TransformException as error:
            raise PoseNotAvailable(
                "no_transform", f"no TF from {target!r} to {source!r} at the image stamp: {error}"
            ) from error
        gap = self._buffer.gap(target, source, time.nanoseconds)
        if gap is not None:
            raise PoseNotAvailable("tf_gap", gap)
        try:
            return check_transform(matrix_from_transform(found.transform))
        except ValueError as error:
            raise PoseNotAvailable("bad_pose", str(error)) from error

    def frames_between(self, target: str, source: str, header: Header) -> Pose | None:
        try:
            return self.between(target, source, Time.from_msg(header.stamp))
        except PoseNotAvailable:
            return None

    def clear(self) -> None:
        self._buffer.clear()

    def rewind(self, stamp_ns: int) -> None:
        self._buffer.rewind(stamp_ns)

    def close(self) -> None:
        self._listener.unregister()


class TopicPoses:
    """Poses from a topic, interpolated at the image stamp.

    A PoseStamped is ``pose_frame``, or the optical frame, in its ``frame_id``. An Odometry is
    ``child_frame_id`` in ``frame_id``, or like a PoseStamped where it names none; TF fills in what
    lies between these and the camera and global frame.
    """

    def __init__(self, node: Node, config: InputConfig) -> None:
        self._frame, self._pose_frame = config.global_frame, config.pose_frame
        self._tf = TfPoses(node, config.global_frame)
        self._stamps: list[int] = []
        self._poses: list[tuple[Pose, str, str] | PoseNotAvailable] = []
        self._node = node
        kind, topic, callback = {
            "pose": (PoseStamped, "pose", self._on_pose),
            "odometry": (Odometry, "odometry", self._on_odometry),
        }[config.pose_source]
        self._subscription = node.create_subscription(kind, topic, callback, SENSOR)

    def _on_pose(self, message: PoseStamped) -> None:
        self._add(message.header, message.pose, self._pose_frame)

    def _on_odometry(self, message: Odometry) -> None:
        child = message.child_frame_id or self._pose_frame
        self._add(message.header, message.pose.pose, child)

    def _add(self, header: Header, pose, child: str) -> None:
        entry: tuple[Pose, str, str] | PoseNotAvailable
        try:
            parent, child = header.frame_id.lstrip("/"), child.lstrip("/")
            entry = check_transform(matrix_from_pose(pose)), parent, child
        except ValueError as error:
            entry = PoseNotAvailable("bad_pose", str(error))  # to the frames that need it
        stamp = to_nanoseconds(header.stamp)
        self._rewind(stamp)
        index = bisect.bisect(self._stamps, stamp)
        self._stamps.insert(index, stamp)
        self._poses.insert(index, entry)
        del self._stamps[:-MAX_POSES], self._poses[:-MAX_POSES]

    def lookup(self, header: Header) -> Pose:
        T_parent_child, parent, child = self._interpolated(to_nanoseconds(header.stamp))
        time = Time.from_msg(header.stamp)
        if parent and parent != self._frame:
            T_parent_child = self._tf.between(self._frame, parent, time) @ T_parent_child
        if child and child != header.frame_id:
            T_parent_child = T_parent_child @ self._tf.between(child, header.frame_id, time)
        return T_parent_child

    def _interpolated(self, stamp: int) -> tuple[Pose, str, str]:
        after = bisect.bisect_left(self._stamps, stamp)
        if after < len(self._stamps) and self._stamps[after] == stamp:
            return self._pose(after)
        if not 0 < after < len(self._stamps):
            raise PoseNotAvailable("no_pose", "no pose before and after the image stamp")
        earlier, later = self._stamps[after - 1], self._stamps[after]
        gap = (later - earlier) / 1e9
        if gap > MAX_GAP_S:
            raise PoseNotAvailable("no_pose", f"the poses around the image are {gap:.1f} s apart")
        (T0, parent, child), (T1, _, _) = self._pose(after - 1), self._pose(after)
        fraction = (stamp - earlier) / (later - earlier)
        return interpolate_transform(T0, T1, fraction), parent, child

    def _pose(self, index: int) -> tuple[Pose, str, str]:
        entry = self._poses[index]
        if isinstance(entry, PoseNotAvailable):
            raise entry
        return entry

    def frames_between(self, target: str, source: str, header: Header) -> Pose | None:
        return self._tf.frames_between(target, source, header)

    def clear(self) -> None:
        self._stamps.clear()
        self._poses.clear()
        self._tf.clear()

    def rewind(self, stamp_ns: int) -> None:
        self._rewind(stamp_ns)
        self._tf.rewind(stamp_ns)

    def _rewind(self, stamp_ns: int) -> None:
        if self._stamps and self._stamps[-1] > stamp_ns + BACKWARD_NS:
            self._stamps.clear()
            self._poses.clear()

    def close(self) -> None:
        self._node.destroy_subscription(self._subscription)
        self._tf.close()


def make_pose_lookup(node: Node, config: InputConfig) -> PoseLookup:
    """The pose source that the settings name."""
    if config.pose_source == "tf":
        return TfPoses(node, config.global_frame)
    return TopicPoses(node, config)
