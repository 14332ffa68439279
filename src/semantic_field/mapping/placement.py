"""The position of a live map in the world frame, and the handling of poses that jump."""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.believed_poses import (
    AGREE,
    JUMP_M,
    REACH_M,
    PoseJudge,
    Verdict,
    origin_of,
    possible,
)
from semantic_field.data.pose_check import shows_the_same
from semantic_field.frames import Frame
from semantic_field.geometry import moved


@dataclass(frozen=True)
class News:
    """Result of judging a frame's pose by ``World.look``.

    Attributes:
        frame: the frame with its pose in map coordinates; None if the pose is rejected. If
            ``new_map`` is set, the pose is still in the world frame.
        outliers: number of poses now found to be wrong: this one, or earlier ones.
        cause: name under which these outliers are counted.
        new_map: whether the frame belongs to a new map; ``World.begin`` then transforms its pose.
        text: message for the log, "" if there is nothing to report.
    """

    frame: Frame | None
    outliers: int = 0
    cause: str = "pose_outlier"
    new_map: bool = False
    text: str = ""


class World:
    """Keeps the origin of a map and judges the camera poses of its frames.

    The map's origin is the zero of the world frame, or a round position near the first pose if
    that is far from zero. A jump is accepted once enough poses after it (at most ``AGREE``) agree
    with each other. It counts as a motion of the camera if it stays within ``REACH_M`` of the
    origin and is below ``JUMP_M`` or changes the image; otherwise as a shift of the world frame,
    which needs a new map. If fewer than ``AGREE`` poses were accepted before the jump, those are
    treated as the outliers, and a new map begins, too.

    Args:
        max_speed_mps: largest plausible speed of a camera; 0 = accept every pose.
        origin: origin (3,) of a loaded map, metres; None = derived from the first pose.
    """

    def __init__(self, max_speed_mps: float, origin: NDArray[np.float64] | None = None) -> None:
        self._origin, self._loaded = origin, origin is not None
        self._judge = PoseJudge(max_speed_mps)
        self._believed: deque[Frame] = deque(maxlen=2)
        self._suspect: Frame | None = None  # the first one after a jump

    def copy(self) -> World:
        """Return an independent copy; judging frames with it does not change this one."""
        twin = copy.copy(self)
        twin._judge, twin._believed = copy.deepcopy(self._judge), self._believed.copy()
        return twin

    def set_max_speed(self, max_speed_mps: float) -> None:
        """Accept poses up to this camera speed from the next frame on; 0 = accept all."""
        self._judge.max_speed_mps = max_speed_mps

    @property
    def origin(self) -> NDArray[np.float64]:
        """Origin of the map in the world frame (3,), metres; zero before the first pose."""
        return np.zeros(3) if self._origin is None else self._origin

    def look(self, frame: Frame) -> News:
        """Judge the next frame, whose pose is in the world frame, and return the verdict."""
        position = frame.T_world_camera[:3, 3]
        verdict = self._judge.judge(frame.stamp_ns, position)
        if verdict is Verdict.DOUBTED:
            if self._judge.doubted == 1:
                self._suspect = frame
            far = possible(position) and not self._in_reach(position)
            return News(None, 1, "outside_map" if far else "pose_outlier")
        if verdict is Verdict.BELIEVED:
            self._believed.append(frame)
            if self._origin is None:
                self._origin = origin_of(position)
            return News(self._own(frame))
        news = self._after_jump(frame)
        self._believed.clear()
        self._believed.append(frame)
        return news

    def _own(self, frame: Frame) -> Frame:
        if not self.origin.any():
            return frame
        return replace(frame, T_world_camera=moved(frame.T_world_camera, -self.origin))

    def _after_jump(self, frame: Frame) -> News:
        last, suspect = self._believed[-1], self._suspect
        assert suspect is not None
        here = frame.T_world_camera[:3, 3]
        apart = suspect.T_world_camera[:3, 3] - last.T_world_camera[:3, 3]
        jump, count = float(np.linalg.norm(apart)), self._judge.believed
        in_reach = self._in_reach(here)
        if count < AGREE and not (self._loaded and in_reach):
            text = f"a new map: the first {count} poses were {jump:.4g} m from those that agree"
            return News(frame, count, new_map=True, text=text)
        if in_reach and not self._world_moved(last, suspect, jump):
            return News(
                self._own(frame), text=f"the camera jumped by {jump:.4g} m, and stays there"
            )
        text = f"a new map: the world has moved by {jump:.4g} m (a first GPS fix?)"
        return News(frame, new_map=True, text=text)

    def _in_reach(self, position: NDArray[np.float64]) -> bool:
        return bool(np.abs(position - self.origin).max() <= REACH_M)

    def begin(self, frame: Frame) -> Frame:
        """Begin a new map at a frame with its pose in the world frame.

        Sets the origin near the pose. Returns the frame with its pose in the new map's coordinates.
        """
        self._origin, self._loaded = origin_of(frame.T_world_camera[:3, 3]), False
        return self._own(frame)

    def _world_moved(self, last: Frame, suspect: Frame, jump_m: float) -> bool:
        two = (self._believed[0], self._believed[1]) if len(self._believed) == 2 else None
        return jump_m > JUMP_M and shows_the_same(last, suspect, two)
