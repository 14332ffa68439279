"""Which keyframe's view another one covers best: the one that gives way when memory is full."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

METRES_PER_RADIAN = 1.0  # how a turn weighs against a motion when views are compared


class ViewNeighbours:
    """The nearest other view of each keyframe, kept up to date as keyframes come and go.

    ``poses`` (N, 4, 4) are ``T_world_camera`` of the keyframes in use, by slot, throughout.

    Args:
        capacity: most keyframes.
    Attributes:
        nearest: float64 (capacity,), distance of each to the nearest other view (see
            ``distances``); inf where there is no other.
    """

    def __init__(self, capacity: int) -> None:
        self.nearest = np.full(capacity, np.inf)
        self._neighbour = np.full(capacity, -1)

    def most_redundant(self, poses: NDArray, T_world_camera: NDArray) -> int:
        """The slot whose view another keyframe, or a new one, covers best."""
        from_frame = distances(poses, T_world_camera)
        return int(np.argmin(np.minimum(self.nearest[: len(poses)], from_frame)))

    def add(self, poses: NDArray, slot: int) -> None:
        """A new view came into ``slot``, and its pose into ``poses``.

        Distances are kept, not found again for all pairs: of small images there are thousands.
        """
        nearest, neighbour = self.nearest[: len(poses)], self._neighbour[: len(poses)]
        for stale in np.flatnonzero(neighbour == slot).tolist():
            if stale != slot:
                self._find(poses, stale)
        apart = self._find(poses, slot)
        closer = apart < nearest
        nearest[closer], neighbour[closer] = apart[closer], slot

    def remove(self, poses: NDArray, slot: int) -> None:
        """The last view has moved to ``slot``; ``poses`` are those that remain."""
        last = len(poses)
        stale = np.flatnonzero(self._neighbour[: last + 1] == slot)
        self.nearest[slot], self._neighbour[slot] = self.nearest[last], self._neighbour[last]
        self._neighbour[self._neighbour == last] = slot
        for view in np.where(stale == last, slot, stale).tolist():
            if view < last:
                self._find(poses, view)

    def reset(self, poses: NDArray) -> None:
        """Compare all views anew."""
        self._neighbour[:], self.nearest[:] = -1, np.inf
        for slot in range(len(poses)):
            self._find(poses, slot)

    def _find(self, poses: NDArray, slot: int) -> NDArray[np.float64]:
        """Note the nearest other view of one; returns its distances to all (own: inf)."""
        apart = distances(poses, poses[slot])
        apart[slot] = np.inf
        self._neighbour[slot] = np.argmin(apart)
        self.nearest[slot] = apart[self._neighbour[slot]]
        return apart


def moved_and_turned(poses: NDArray, T_world_camera: NDArray) -> tuple[NDArray, NDArray]:
    """Metres and radians (N,) between one pose (4, 4) and others (N, 4, 4), all to one frame."""
    moved = np.linalg.norm(poses[:, :3, 3] - T_world_camera[:3, 3], axis=1)
    trace = np.einsum("kij,ij->k", poses[:, :3, :3], T_world_camera[:3, :3])
    return moved, np.arccos(np.clip((trace - 1) / 2, -1, 1))


def distances(poses: NDArray, T_world_camera: NDArray) -> NDArray[np.float64]:
    """How different one view is from others (N,): metres, and radians as metres."""
    moved, turned = moved_and_turned(poses, T_world_camera)
    return moved + METRES_PER_RADIAN * turned
