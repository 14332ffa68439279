"""Interpolated poses of a recording: TF trees, and tracks of pose or odometry messages."""

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
MAX_DEPTH = 100  # of a TF tree; more means a loop
MAX_GAP_S = 0.5  # longest interval for interpolation, unless the source publishes more slowly
SAME = 1e-6  # metres and quaternion components


class PoseError(LookupError):
    """There is no pose at this time; ``cause`` is the key under which such frames are counted."""

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause


def longest_gap_s(intervals_s: Sequence[float]) -> float:
    """Return the longest interval in seconds over which poses may be interpolated.

    That is ``MAX_GAP_S``, or twice the period of a slow source, estimated from ``intervals_s``.
    """
    usual = sorted(intervals_s)[len(intervals_s) // 4] if len(intervals_s) else 0.0
    return max(MAX_GAP_S, 2.0 * usual)


@dataclass
class Track:
    """Poses of one frame in its parent frame over time.

    Attributes:
        name: for error messages.
        max_gap_s: longest interval for interpolation; None: see ``longest_gap_s``.
        gap_cause: key under which frames in longer gaps are counted.
        conflicts: sentences about contradicting poses, as keys.
    """

    name: str
    max_gap_s: float | None = None
    gap_cause: str = "no_pose"
    conflicts: dict[str, None] = field(default_factory=dict)
    _samples: dict[str, dict[int, NDArray]] = field(default_factory=dict)
    _stamps: list[int] | None = None
    _longest_gap_s: float = MAX_GAP_S

    def add(self, stamp_ns: int, parent: str, translation: NDArray, quaternion: NDArray) -> None:
        """Add a pose at a stamp; it replaces an earlier one. Quaternions are (x, y, z, w)."""
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
        """The parent frame of most poses; poses in other parents are ignored."""
        return max(self._samples, key=lambda name: len(self._samples[name]))

    def parents(self) -> list[str]:
        """Return the names of all parents in order of arrival."""
        return list(self._samples)

    def moves(self) -> bool:
        """Return whether the poses differ."""
        samples = list(self._samples[self.parent].values()) if self._samples else []
        return any(not _same(samples[0], values) for values in samples)

    def at(self, stamp_ns: int) -> tuple[str, Pose]:
        """Return the parent and ``T_parent_frame``, interpolated linearly and by slerp.

        Raises:
            PoseError: before the first or after the last pose, in a gap, or on a bad quaternion.
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
    """The TF tree of one robot, from /tf and /tf_static."""

    def __init__(self) -> None:
        self.topics: tuple[str, ...] = ()  # TF topics of the camera's namespace
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
        """Add ``T_parent_child``; a static one is valid at all times and replaces earlier ones."""
        parent, child = parent.lstrip("/"), child.lstrip("/")
        tracks = self._static if static else self._moving
        track = tracks.setdefault(child, Track(child, gap_cause="tf_gap"))
        track.add(0 if static else stamp_ns, parent, translation, quaternion)
        self._parents[child] = self._static.get(child, track).parent

    def has(self, child: str) -> bool:
        """Return whether the frame has a parent."""
        return child in self._parents

    def children(self) -> list[str]:
        """Return the names of all frames that have a parent."""
        return list(self._parents)

    def conflicts(self, camera: str) -> list[str]:
        """Return sentences about contradictions in the frames above the camera."""
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
        """Return whether any transform between the camera and the root changes."""
        return any(self._link_moves(frame) for frame in self._above(camera))

    def mount(self, camera: str) -> str:
        """Return the highest frame to which the camera is rigidly attached."""
        for frame in self._above(camera):
            if self._link_moves(frame):
                return frame
        return self.root(camera)

    def _link_moves(self, frame: str) -> bool:
        return frame not in self._static and self._moving[frame].moves()

    def _above(self, frame: str) -> Iterator[str]:
        """Yield the frame and its ancestors, without the root."""
        for _ in range(MAX_DEPTH):
            if frame not in self._parents:
                return
            yield frame
            frame = self._parents[frame]

    def frames(self) -> list[str]:
        """Return the names of all frames."""
        return sorted({*self._parents, *self._parents.values()})

    def root(self, frame: str) -> str:
        """Return the root of the tree that contains ``frame``."""
        for _ in range(MAX_DEPTH):
            if frame not in self._parents:
                break
            frame = self._parents[frame]
        return frame

    def at(self, target: str, source: str, stamp_ns: int) -> Pose:
        """Return ``T_target_source`` at a time.

        Raises:
            PoseError: if a frame is unknown, they are not connected, or the time is not covered.
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
        """Yield the frame and its ancestors, each with ``T_ancestor_frame``."""
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
