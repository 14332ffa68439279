"""TF as it arrives: a buffer that starts afresh when time goes back, and knows its gaps."""

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

BACKWARD_NS = 1_000_000_000  # less is disorder of the network, more is a clock that went back
MAX_STAMPS = 2000
USUAL = 50  # transforms that say how often they come


@dataclass
class Link:
    """When transforms of one frame came; none for one that always holds."""

    parent: str
    stamps: list[int] = field(default_factory=list)

    def add(self, stamp_ns: int) -> None:
        if not self.stamps or stamp_ns not in self.stamps[-1:]:
            insort(self.stamps, stamp_ns)
            del self.stamps[:-MAX_STAMPS]

    def gap_s(self, stamp_ns: int) -> float:
        """Seconds between the transforms around a stamp, where that is too long, else 0."""
        stamps, after = self.stamps, bisect_left(self.stamps, stamp_ns)
        if not 0 < after < len(stamps) or stamps[after] == stamp_ns:
            return 0.0
        gap, recent = (stamps[after] - stamps[after - 1]) / 1e9, stamps[-USUAL:]
        usual = longest_gap_s([(b - a) / 1e9 for a, b in pairwise(recent)])
        return gap if gap > usual else 0.0


class RewindingBuffer(Buffer):
    """A buffer that starts afresh where the stamps of a transform go back.

    When a recording starts again its transforms come before its images do; until the buffer is
    cleared they would be ignored as older than its length. tf2 interpolates over any gap; here
    ``gap`` names those that are too long.
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
        """What is silent for too long around a stamp between two frames; None: nothing is."""
        with self._lock:
            above = [set(self._above(name)) for name in (target, source)]
            for name in above[0] ^ above[1]:
                if (gap := self._links[name].gap_s(stamp_ns)) > 0:
                    parent = self._links[name].parent
                    return f"TF from {parent!r} to {name!r} is silent for {gap:.1f} s around it"
        return None

    def _above(self, frame: str) -> Iterator[str]:
        """The frame and those above it that have a parent."""
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
        if max(self._newest.values(), default=0) > stamp_ns + BACKWARD_NS:
            self.clear()


def _without_slashes(transform: TransformStamped) -> None:
    """Frame names have no leading slash since tf2; some publishers still give them one."""
    without_slash(transform.header)
    transform.child_frame_id = transform.child_frame_id.lstrip("/")
