"""Poses of a recording at any time: TF trees, and tracks of pose or odometry messages."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from semantic_field.geometry import (
    check_transform,
    interpolate_transform,
    invert_transform,
    make_transform,
    matrix_from_quaternion,
)

Pose = NDArray[np.floating]
MAX_DEPTH = 100  # of a TF tree; more is a loop


class PoseError(LookupError):
    """No pose at that time; ``cause`` is what such frames are counted under."""

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause


@dataclass
class Track:
    """Poses of one frame in its parent over time.

    Attributes:
        name: for error messages. max_gap_s: poses farther apart are not interpolated.
    """

    name: str
    max_gap_s: float = float("inf")
    _samples: dict[int, tuple[str, NDArray]] = field(default_factory=dict)
    _stamps: list[int] | None = None

    def add(self, stamp_ns: int, parent: str, translation: NDArray, quaternion: NDArray) -> None:
        """A pose at a stamp; the last one of a stamp counts. Quaternions are (x, y, z, w)."""
        self._samples[stamp_ns] = (parent, np.concatenate([translation, quaternion]))
        self._stamps = None

    def at(self, stamp_ns: int) -> tuple[str, Pose]:
        """The parent and ``T_parent_frame``: linear and slerp between the neighbours in time.

        Raises:
            PoseError: before the first or after the last pose, in a gap, or a broken quaternion.
        """
        if self._stamps is None:
            self._stamps = sorted(self._samples)
        stamps = self._stamps
        after = bisect_left(stamps, stamp_ns)
        if after < len(stamps) and stamps[after] == stamp_ns:
            return self._pose(stamps[after])
        if not 0 < after < len(stamps):
            edge = stamps[0] if after == 0 else stamps[-1]
            side = "before the first" if after == 0 else "after the last"
            away = abs(edge - stamp_ns) / 1e9
            raise PoseError("no_pose", f"{away:.3f} s {side} pose of {self.name!r}")
        earlier, later = stamps[after - 1], stamps[after]
        if (later - earlier) / 1e9 > self.max_gap_s:
            gap = (later - earlier) / 1e9
            raise PoseError("no_pose", f"poses of {self.name!r} are {gap:.1f} s apart")
        (parent, T0), (parent1, T1) = self._pose(earlier), self._pose(later)
        if parent != parent1:
            raise PoseError("no_pose", f"{self.name!r} moves from {parent!r} to {parent1!r}")
        fraction = (stamp_ns - earlier) / (later - earlier)
        return parent, interpolate_transform(T0, T1, fraction)

    def _pose(self, stamp_ns: int) -> tuple[str, Pose]:
        parent, values = self._samples[stamp_ns]
        try:
            rotation = matrix_from_quaternion(values[3:])
            return parent, check_transform(make_transform(rotation, values[:3]))
        except ValueError as error:
            raise PoseError("bad_pose", f"pose of {self.name!r}: {error}") from error


class TransformTree:
    """All transforms of /tf and /tf_static."""

    def __init__(self) -> None:
        self._moving: dict[str, Track] = {}
        self._static: dict[str, Track] = {}
        self._parents: dict[str, str] = {}

    def add(
        self,
        parent: str,
        child: str,
        stamp_ns: int,
        translation: NDArray,
        quaternion: NDArray,
        static: bool,
    ) -> None:
        """A transform ``T_parent_child``; a static one holds at all times, its newest counts."""
        parent, child = parent.lstrip("/"), child.lstrip("/")
        tracks = self._static if static else self._moving
        track = tracks.setdefault(child, Track(child))
        self._parents[child] = parent
        track.add(0 if static else stamp_ns, parent, translation, quaternion)

    def frames(self) -> list[str]:
        """The names of all frames."""
        return sorted({*self._parents, *self._parents.values()})

    def root(self, frame: str) -> str:
        """The frame at the top of the tree that ``frame`` hangs in."""
        for _ in range(MAX_DEPTH):
            if frame not in self._parents:
                break
            frame = self._parents[frame]
        return frame

    def at(self, target: str, source: str, stamp_ns: int) -> Pose:
        """``T_target_source`` at a time.

        Raises:
            PoseError: a frame that is not known, no connection, or a time that is not covered.
        """
        for name in (target, source):
            if name not in self._parents and name not in self._parents.values():
                known = ", ".join(self.frames()) or "none"
                raise PoseError("no_transform", f"no TF frame {name!r}; frames: {known}")
        above = dict(self._upwards(target, stamp_ns))
        for frame, T_frame_source in self._upwards(source, stamp_ns):
            if frame in above:
                return invert_transform(above[frame]) @ T_frame_source
        raise PoseError("no_transform", f"TF does not connect {source!r} to {target!r}")

    def _upwards(self, frame: str, stamp_ns: int) -> Iterator[tuple[str, Pose]]:
        """The frame and all above it, each with the transform that takes points of it there."""
        start, T_frame_start = frame, np.eye(4)
        for _ in range(MAX_DEPTH):
            yield frame, T_frame_start
            if frame in self._static:
                frame, T_parent_frame = self._static[frame].at(0)
            elif frame in self._moving:
                try:
                    frame, T_parent_frame = self._moving[frame].at(stamp_ns)
                except PoseError as error:
                    cause = "no_transform" if error.cause == "no_pose" else error.cause
                    raise PoseError(cause, str(error)) from error
            else:
                return
            T_frame_start = T_parent_frame @ T_frame_start
        raise PoseError("no_transform", f"TF above {start!r} is a loop")
