"""Caches of the transforms of one child frame over time."""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import Protocol

from tf2_py._exceptions import ExtrapolationException
from tf2_py._rigid import Rigid, interpolate


@dataclass(frozen=True, slots=True)
class Link:
    """``T_parent_child`` at one time."""

    parent: str
    transform: Rigid


class Cache(Protocol):
    """Transforms of one child frame to its parent."""

    def insert(self, stamp_ns: int, link: Link) -> bool:
        """Store a transform; returns False if it is too old."""
        ...

    def at(self, stamp_ns: int) -> Link:
        """Return the transform at a time; raises ExtrapolationException if out of range."""
        ...

    def latest(self) -> tuple[int | None, str] | None:
        """Return time (None = static) and parent of the newest transform; None if empty."""
        ...

    def clear(self) -> None: ...


class StaticCache:
    """A static transform; it survives clearing the buffer, as it is published only once."""

    def __init__(self) -> None:
        self._link: Link | None = None

    def insert(self, stamp_ns: int, link: Link) -> bool:
        self._link = link
        return True

    def at(self, stamp_ns: int) -> Link:
        assert self._link is not None, "a cache is made together with its first transform"
        return self._link

    def latest(self) -> tuple[int | None, str] | None:
        return None if self._link is None else (None, self._link.parent)

    def clear(self) -> None:
        """Do nothing: static transforms are kept."""


class TimeCache:
    """Transforms of the last ``length_ns`` before the newest, in order of time."""

    def __init__(self, length_ns: int) -> None:
        self._length_ns = length_ns
        self._stamps: list[int] = []
        self._links: list[Link] = []

    def insert(self, stamp_ns: int, link: Link) -> bool:
        if self._stamps and stamp_ns < self._stamps[-1] - self._length_ns:
            return False
        index = bisect.bisect_left(self._stamps, stamp_ns)
        if index < len(self._stamps) and self._stamps[index] == stamp_ns:
            self._links[index] = link
            return True
        self._stamps.insert(index, stamp_ns)
        self._links.insert(index, link)
        outdated = bisect.bisect_left(self._stamps, self._stamps[-1] - self._length_ns)
        del self._stamps[:outdated], self._links[:outdated]
        return True

    def at(self, stamp_ns: int) -> Link:
        stamps = self._stamps
        after = bisect.bisect_left(stamps, stamp_ns)
        if after < len(stamps) and stamps[after] == stamp_ns:
            return self._links[after]
        if not 0 < after < len(stamps):
            raise ExtrapolationException(self._why_not(stamp_ns))
        first, second = self._links[after - 1], self._links[after]
        if (
            first.parent != second.parent
        ):  # the parent changed in between: use the earlier transform until then
            return first
        fraction = (stamp_ns - stamps[after - 1]) / (stamps[after] - stamps[after - 1])
        return Link(first.parent, interpolate(first.transform, second.transform, fraction))

    def _why_not(self, stamp_ns: int) -> str:
        wanted = seconds(stamp_ns)
        if not self._stamps:
            return f"Lookup would require extrapolation at time {wanted}, but the buffer is empty"
        first, last = seconds(self._stamps[0]), seconds(self._stamps[-1])
        if len(self._stamps) == 1:
            return (
                f"Lookup would require extrapolation at time {wanted}, "
                f"but only time {last} is in the buffer"
            )
        if stamp_ns < self._stamps[0]:
            return (
                f"Lookup would require extrapolation into the past.  Requested time {wanted} "
                f"but the earliest data is at time {first}"
            )
        return (
            f"Lookup would require extrapolation into the future.  Requested time {wanted} "
            f"but the latest data is at time {last}"
        )

    def latest(self) -> tuple[int | None, str] | None:
        return (self._stamps[-1], self._links[-1].parent) if self._stamps else None

    @property
    def span(self) -> tuple[int, int, int] | None:
        """Return oldest and newest time and the number of transforms; None if empty."""
        if not self._stamps:
            return None
        return self._stamps[0], self._stamps[-1], len(self._stamps)

    def clear(self) -> None:
        self._stamps.clear()
        self._links.clear()


def seconds(stamp_ns: int) -> str:
    """Format a time for an error message: seconds with nine decimals."""
    sign = "-" if stamp_ns < 0 else ""
    whole, rest = divmod(abs(stamp_ns), 1_000_000_000)
    return f"{sign}{whole}.{rest:09d}"
