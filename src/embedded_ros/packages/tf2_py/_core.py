"""BufferCore: stores TransformStamped messages and answers look-ups with them."""

from __future__ import annotations

import math
from typing import Any

from builtin_interfaces.msg import Time as TimeMsg
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.time import Time
from std_msgs.msg import Header

from tf2_py._cache import Link, TimeCache, seconds
from tf2_py._exceptions import TransformException
from tf2_py._rigid import Rigid, normalised
from tf2_py._tree import FrameTree

DEFAULT_CACHE_NS = 10_000_000_000
UNIT_TOLERANCE = 10e-3  # tf2's, of the squared length of a quaternion


class BufferCore:
    """Transforms of the last ``cache_time`` (default 10 s), by child frame."""

    def __init__(self, cache_time: Duration | None = None) -> None:
        length = DEFAULT_CACHE_NS if cache_time is None else cache_time.nanoseconds
        self._tree = FrameTree(length)
        self._complaints: set[tuple[str, str]] = set()

    # --- input --------------------------------------------------------------------------------

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Store a transform. An invalid one is ignored, with one warning per child frame."""
        self._insert(transform, authority, static=False)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Store a static transform."""
        self._insert(transform, authority, static=True)

    def _insert(self, message: TransformStamped, authority: str, static: bool) -> None:
        parent = message.header.frame_id.removeprefix("/")
        child = message.child_frame_id.removeprefix("/")
        translation, rotation = _components(message.transform)
        reason = _fault(parent, child, translation, rotation)
        if reason is None:
            link = Link(parent, Rigid(translation, normalised(rotation)))
            stamp_ns = to_nanoseconds(message.header.stamp)
            if not self._tree.insert(child, link, stamp_ns, static, authority):
                age = self._tree.cache_length_ns / 1e9
                reason = f"its stamp is more than {age:g} s older than the newest one (TF_OLD_DATA)"
        if reason is not None:
            self._complain(parent, child, authority, reason)

    def _complain(self, parent: str, child: str, authority: str, reason: str) -> None:
        if (child, reason) not in self._complaints:
            self._complaints.add((child, reason))
            get_logger("tf2").warning(
                f"transform from '{parent}' to '{child}' of {authority} is ignored: {reason}"
            )

    def clear(self) -> None:
        """Remove all transforms except static ones."""
        self._tree.clear()
        self._complaints.clear()

    # --- look-ups -----------------------------------------------------------------------------

    def lookup_transform_core(
        self, target_frame: str, source_frame: str, time: Time | TimeMsg
    ) -> TransformStamped:
        """Return the transform from source to target frame at a time (0 = newest).

        Raises:
            LookupException, ConnectivityException, ExtrapolationException,
            InvalidArgumentException.
        """
        found, stamp_ns = self._tree.lookup(target_frame, source_frame, to_nanoseconds(time))
        return _to_message(found, target_frame, source_frame, stamp_ns)

    def lookup_transform_full_core(
        self,
        target_frame: str,
        target_time: Time | TimeMsg,
        source_frame: str,
        source_time: Time | TimeMsg,
        fixed_frame: str,
    ) -> TransformStamped:
        """Like ``lookup_transform_core``, between two times, through a fixed frame."""
        T_target_fixed, stamp_ns = self._tree.lookup(
            target_frame, fixed_frame, to_nanoseconds(target_time)
        )
        T_fixed_source, _ = self._tree.lookup(
            fixed_frame, source_frame, to_nanoseconds(source_time)
        )
        return _to_message(T_target_fixed @ T_fixed_source, target_frame, source_frame, stamp_ns)

    def can_transform_core(
        self, target_frame: str, source_frame: str, time: Time | TimeMsg
    ) -> tuple[bool, str]:
        """Return whether the look-up would succeed, and the reason if not."""
        try:
            self._tree.lookup(target_frame, source_frame, to_nanoseconds(time))
        except TransformException as error:
            return False, str(error)
        return True, ""

    def can_transform_full_core(
        self,
        target_frame: str,
        target_time: Time | TimeMsg,
        source_frame: str,
        source_time: Time | TimeMsg,
        fixed_frame: str,
    ) -> tuple[bool, str]:
        """Return whether the full look-up would succeed, and the reason if not."""
        try:
            self._tree.lookup(target_frame, fixed_frame, to_nanoseconds(target_time))
            self._tree.lookup(fixed_frame, source_frame, to_nanoseconds(source_time))
        except TransformException as error:
            return False, str(error)
        return True, ""

    def get_latest_common_time(self, target_frame: str, source_frame: str) -> Time:
        """Return the newest time at which both frames are known; raises like a look-up."""
        self._tree.check_frame("getLatestCommonTime argument target_frame", target_frame)
        self._tree.check_frame("getLatestCommonTime argument source_frame", source_frame)
        return Time(nanoseconds=self._tree.latest_common_time(target_frame, source_frame))

    def all_frames_as_string(self) -> str:
        """Return one line of text for each frame that has a parent."""
        parents = ((child, self._tree.parent_of(child)) for child in self._tree.frames())
        return "".join(f"Frame {c} exists with parent {p}.\n" for c, p in parents if p)

    def all_frames_as_yaml(self) -> str:
        """Return parent, rate and times of each child frame as YAML, for view_frames."""
        text = ""
        for child, (cache, authority) in sorted(self._tree.caches().items()):
            parent = self._tree.parent_of(child)
            if parent is not None:
                span = cache.span if isinstance(cache, TimeCache) else None
                text += _frame_yaml(child, parent, authority, span)
        return text or "{}"


def to_nanoseconds(time: Any) -> int:
    """Convert an rclpy Time or a builtin_interfaces/Time to nanoseconds."""
    if hasattr(time, "nanoseconds"):
        return int(time.nanoseconds)
    return int(time.sec) * 1_000_000_000 + int(time.nanosec)


def _components(transform: Transform):
    t, q = transform.translation, transform.rotation
    return (t.x, t.y, t.z), (q.x, q.y, q.z, q.w)


def _fault(parent: str, child: str, translation: tuple, rotation: tuple) -> str | None:
    if not child or not parent:
        return f"the {'child_frame_id' if not child else 'frame_id'} is not set"
    if child == parent:
        return "frame_id and child_frame_id are the same (TF_SELF_TRANSFORM)"
    if not all(math.isfinite(value) for value in (*translation, *rotation)):
        return "it holds a value that is not finite (TF_NAN_INPUT)"
    if abs(sum(value * value for value in rotation) - 1.0) > UNIT_TOLERANCE:
        return "its quaternion is not normalised (TF_DENORMALIZED_QUATERNION)"
    return None


def _to_message(found: Rigid, target: str, source: str, stamp_ns: int) -> TransformStamped:
    x, y, z = found.translation
    qx, qy, qz, qw = found.rotation
    return TransformStamped(
        header=Header(stamp=Time(nanoseconds=stamp_ns).to_msg(), frame_id=target),
        child_frame_id=source,
        transform=Transform(
            translation=Vector3(x=x, y=y, z=z), rotation=Quaternion(x=qx, y=qy, z=qz, w=qw)
        ),
    )


def _frame_yaml(child: str, parent: str, authority: str, span: tuple[int, int, int] | None) -> str:
    first, last, count = span or (0, 0, 0)
    rate = count * 1e9 / max(last - first, 100_000)  # as tf2 counts
    return (
        f"{child}: \n  parent: '{parent}'\n  broadcaster: '{authority}'\n  rate: {rate:.3f}\n"
        f"  most_recent_transform: {seconds(last)}\n  oldest_transform: {seconds(first)}\n"
        f"  buffer_length: {(last - first) / 1e9:.3f}\n"
    )
