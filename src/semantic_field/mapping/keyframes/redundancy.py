"""Redundancy of keyframes: finds the one to replace when memory is full."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semantic_field.geometry import pose_distances


class ViewNeighbours:
    """The nearest other view of each keyframe, updated as keyframes are added and removed.

    Throughout, ``poses`` (N, 4, 4) are ``T_world_camera`` of the keyframes in use, by slot.

    Args:
        capacity: largest number of keyframes.
    Attributes:
        nearest: float64 (capacity,), distance of each view to the nearest other one (see
            ``geometry.pose_distances``); inf if there is no other.
    """

    def __init__(self, capacity: int) -> None:
        self.nearest = np.full(capacity, np.inf)
        self._neighbour = np.full(capacity, -1)

    def most_redundant(self, poses: NDArray, T_world_camera: NDArray) -> int:
        """Return the slot whose view is most similar to another keyframe or to a new pose."""
        from_frame = pose_distances(poses, T_world_camera)
        return int(np.argmin(np.minimum(self.nearest[: len(poses)], from_frame)))

    def add(self, poses: NDArray, slot: int) -> None:
        """Update after a new view was put into ``slot`` and its pose into ``poses``.

        Distances are updated incrementally, as there may be thousands of small keyframes.
        """
        nearest, neighbour = self.nearest[: len(poses)], self._neighbour[: len(poses)]
        for stale in np.flatnonzero(neighbour == slot).tolist():
            if stale != slot:
                self._find(poses, stale)
        apart = self._find(poses, slot)
        closer = apart < nearest
        nearest[closer], neighbour[closer] = apart[closer], slot

    def remove(self, poses: NDArray, slot: int) -> None:
        """Update after the last view was moved to ``slot``; ``poses`` are the remaining ones."""
        last = len(poses)
        stale = np.flatnonzero(self._neighbour[: last + 1] == slot)
        self.nearest[slot], self._neighbour[slot] = self.nearest[last], self._neighbour[last]
        self._neighbour[self._neighbour == last] = slot
        for view in np.where(stale == last, slot, stale).tolist():
            if view < last:
                self._find(poses, view)

    def reset(self, poses: NDArray) -> None:
        """Compare all views again."""
        self._neighbour[:], self.nearest[:] = -1, np.inf
        for slot in range(len(poses)):
            self._find(poses, slot)

    def _find(self, poses: NDArray, slot: int) -> NDArray[np.float64]:
        """Update the nearest view of one; returns its distances to all (inf to itself)."""
        apart = pose_distances(poses, poses[slot])
        apart[slot] = np.inf
        self._neighbour[slot] = np.argmin(apart)
        self.nearest[slot] = apart[self._neighbour[slot]]
        return apart
