"""Poses of a recording at any time: TF trees, and tracks of pose or odometry messages."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
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
MAX_GAP_S = 0.5  # poses farther apart are not interpolated, unless they come as slowly as that
SAME = 1e-6  # metres and quaternion components


class PoseError(LookupError):
    """No pose at that time; ``cause`` is what such frames are counted under."""

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause


def longest_gap_s(intervals_s: Sequence[float]) -> float:
    """Seconds over which poses that came at these intervals may be interpolated.

    That is ``MAX_GAP_S``, or twice the period of a source that is slower than that.
    """
    usual = sorted(intervals_s)[len(intervals_s) // 4] if len(intervals_s) else 0.0
    return max(MAX_GAP_S, 2.0 * usual)


@dataclass
class Track:
    """Poses of one frame in its parent over time.

    Attributes:
        name: for error messages.
        max_gap_s: poses farther apart are not interpolated; None: see ``longest_gap_s``.
        gap_cause: what frames in a gap between poses are counted under.
        conflicts: sentences about poses that contradict each other.
    """

    name: str
    max_gap_s: float | None = None
    gap_cause: str = "no_pose"
    conflicts: dict[str, None] = field(default_factory=dict)
    _samples: dict[str, dict[int, NDArray]] = field(default_factory=dict)
    _stamps: list[int] | None = None
    _longest_gap_s: float = MAX_GAP_S

    def add(self, stamp_ns: int, parent: str, translation: NDArray, quaternion: NDArray) -> None:
        """A pose at a stamp; the last one of a stamp counts. Quaternions are (x, y, z, w)."""
        values = np.concatenate([translation, quaternion])
        samples = self._samples.setdefault(parent, {})
        before = samples.get(stamp_ns)
        if before is not None and not _same(before, values):
            apart = np.linalg.norm(before[:3] - values[:3])
            self.conflicts[f"{self.name!r} has two poses at one time, {apart:.2f} m apart"] = None
        samples[stamp_ns] = values
        self._stamps = None

    @property
    def parent(self) -> str:
        """The parent that most poses are in; only those count."""
        return max(self._samples, key=lambda name: len(self._samples[name]))

    def parents(self) -> list[str]:
        """The names of all parents, in the order in which they came."""
        return list(self._samples)

    def moves(self) -> bool:
        """Whether its poses differ."""
        samples = list(self._samples[self.parent].values()) if self._samples else []
        return any(not _same(samples[0], values) for values in samples)

    def at(self, stamp_ns: int) -> tuple[str, Pose]:
        """The parent and ``T_parent_frame``: linear and slerp between the neighbours in time.

        Raises:
            PoseError: before the first or after the last pose, in a gap, or a broken quaternion.
        """
        parent = self.parent
        if self._stamps is None:
            self._stamps = sorted(self._samples[parent])
            usual = longest_gap_s((np.diff(self._stamps) / 1e9).tolist())
            self._longest_gap_s = usual if self.max_gap_s is None else self.max_gap_s
        stamps = self._stamps
        after = bisect_left(stamps, stamp_ns)
        if after < len(stamps) and stamps[after] == stamp_ns:
            return parent, self._pose(stamps[after])
        if not 0 < after < len(stamps):
            edge = stamps[0] if after == 0 else stamps[-1]
            side = "before the first" if after == 0 else "after the last"
            away = abs(edge - stamp_ns) / 1e9
            raise PoseError("no_pose", f"{away:.3f} s {side} pose of {self.name!r}")
        earlier, later = stamps[after - 1], stamps[after]
        if (gap := (later - earlier) / 1e9) > self._longest_gap_s:
            raise PoseError(self.gap_cause, f"poses of {self.name!r} are {gap:.1f} s apart")
        fraction = (stamp_ns - earlier) / (later - earlier)
        return parent, interpolate_transform(self._pose(earlier), self._pose(later), fraction)

    def _pose(self, stamp_ns: int) -> Pose:
        values = self._samples[self.parent][stamp_ns]
        try:
            rotation = matrix_from_quaternion(values[3:])
            return check_transform(make_transform(rotation, values[:3]))
        except ValueError as error:
            raise PoseError("bad_pose", f"pose of {self.name!r}: {error}") from error


def _same(first: NDArray, second: NDArray) -> bool:
    return bool(np.allclose(first, second, rtol=0.0, atol=SAME))


class TransformTree:
    """All transforms of one robot's /tf and /tf_static."""

    def __init__(self) -> None:
        self.topics: tuple[str, ...] = ()  # that it was read from, the camera's own namespace
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
        track = tracks.setdefault(child, Track(child, gap_cause="tf_gap"))
        track.add(0 if static else stamp_ns, parent, translation, quaternion)
        self._parents[child] = self._static.get(child, track).parent

    def has(self, child: str) -> bool:
        """Whether a transform of that frame is known."""
        return child in self._parents

    def children(self) -> list[str]:
        """The names of all frames that have a parent."""
        return list(self._parents)

    def conflicts(self, camera: str) -> list[str]:
        """What is contradictory about the frames above the camera, as sentences."""
        found: dict[str, None] = {}
        for frame in self._above(camera):
            tracks = [t[frame] for t in (self._static, self._moving) if frame in t]
            parents = dict.fromkeys(name for track in tracks for name in track.parents())
            if len(parents) > 1:
                found[f"{frame!r} has the parents {', '.join(map(repr, parents))}"] = None
            for track in tracks:
                found |= track.conflicts
        return list(found)

    def moves(self, camera: str) -> bool:
        """Whether anything moves between the camera and the top of its tree."""
        return any(self._link_moves(frame) for frame in self._above(camera))

    def mount(self, camera: str) -> str:
        """The highest frame that the camera is fixed to."""
        for frame in self._above(camera):
            if self._link_moves(frame):
                return frame
        return self.root(camera)

    def _link_moves(self, frame: str) -> bool:
        return frame not in self._static and self._moving[frame].moves()

    def _above(self, frame: str) -> Iterator[str]:
        """The frame and those above it that have a parent."""
        for _ in range(MAX_DEPTH):
            if frame not in self._parents:
                return
            yield frame
            frame = self._parents[frame]

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
