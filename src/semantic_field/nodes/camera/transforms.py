"""TF buffer that clears itself when time goes back, and detects gaps in the transforms."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from geometry_msgs.msg import TransformStamped
from tf2_ros import Buffer

from semantic_field.data.bag_poses import MAX_DEPTH, longest_gap_s
from semantic_field.nodes.ros.conversions import to_nanoseconds, without_slash

BACKWARD_NS = 1_000_000_000  # less is network reordering, more is a clock that went back
MAX_STAMPS = 2000
USUAL = 50  # recent transforms used to estimate the usual period


@dataclass
class Link:
    """Stamps (ns, ascending) of the transforms from one frame to its parent; empty if static."""

    parent: str
    stamps: list[int] = field(default_factory=list)

    def add(self, stamp_ns: int) -> None:
        if not self.stamps or stamp_ns not in self.stamps[-1:]:
            insort(self.stamps, stamp_ns)
            del self.stamps[:-MAX_STAMPS]

    def gap_s(self, stamp_ns: int) -> float:
        """Return the seconds between the transforms around ``stamp_ns`` if too long, else 0."""
        stamps, after = self.stamps, bisect_left(self.stamps, stamp_ns)
        if not 0 < after < len(stamps) or stamps[after] == stamp_ns:
            return 0.0
        gap, recent = (stamps[after] - stamps[after - 1]) / 1e9, stamps[-USUAL:]
        usual = longest_gap_s([(b - a) / 1e9 for a, b in pairwise(recent)])
        return gap if gap > usual else 0.0


class RewindingBuffer(Buffer):
    """TF buffer that clears itself when the stamps of a transform go back.

    When a recording restarts, its transforms arrive before its images; without clearing, tf2
    ignores them as too old. tf2 also interpolates over any gap; ``gap`` reports those that are
    too long.
    """

    def __init__(self) -> None:
        super().__init__()
        self._newest: dict[str, int] = {}
        self._links: dict[str, Link] = {}
        self._lock = threading.Lock()

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        _without_slashes(transform)
        stamp, child = to_nanoseconds(transform.header.stamp), transform.child_frame_id
        if stamp < self._newest.get(child, 0) - BACKWARD_NS:
            self.clear()
        self._newest[child] = stamp
        with self._lock:
            self._link(transform).add(stamp)
        super().set_transform(transform, authority)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        _without_slashes(transform)
        with self._lock:
            self._link(transform).stamps.clear()
        super().set_transform_static(transform, authority)

    def _link(self, transform: TransformStamped) -> Link:
        parent = transform.header.frame_id
        link = self._links.setdefault(transform.child_frame_id, Link(parent))
        link.parent = parent
        return link

    def gap(self, target: str, source: str, stamp_ns: int) -> str | None:
        """Describe a link between two frames with too long a gap at ``stamp_ns``; else None."""
        with self._lock:
            above = [set(self._above(name)) for name in (target, source)]
            for name in above[0] ^ above[1]:
                if (gap := self._links[name].gap_s(stamp_ns)) > 0:
                    parent = self._links[name].parent
                    return f"TF from {parent!r} to {name!r} is silent for {gap:.1f} s around it"
        return None

    def _above(self, frame: str) -> Iterator[str]:
        """Yield the frame and its ancestors, except the root."""
        for _ in range(MAX_DEPTH):
            if frame not in self._links:
                return
            yield frame
            frame = self._links[frame].parent

    def clear(self) -> None:
        self._newest = {}
        with self._lock:
            for link in self._links.values():
                link.stamps.clear()
        super().clear()

    def rewind(self, stamp_ns: int) -> None:
        """Clear the buffer if it holds transforms clearly newer than ``stamp_ns``."""
        if max(self._newest.values(), default=0) > stamp_ns + BACKWARD_NS:
            self.clear()


def _without_slashes(transform: TransformStamped) -> None:
    """Strip leading slashes: tf2 frame names have none, but some publishers still add one."""
    without_slash(transform.header)
    transform.child_frame_id = transform.child_frame_id.lstrip("/")
