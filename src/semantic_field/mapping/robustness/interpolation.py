"""Interpolation of keyframe corrections (pose, exposure) in time, and of poses in space.

Pose errors and exposure change slowly: the corrections of the keyframes just before and after a
time apply to it as well. Of a view without a time, those of the keyframes around it do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semantic_field.field.views.agreement import nearness
from semantic_field.geometry import pose_distances
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.robustness.pose_refinement import corrected

REACH_M = 1.0  # distance from the nearest keyframe at which its pose correction is halved
LONGEST_GAP_NS = 2_000_000_000


@dataclass(frozen=True)
class Moments:
    """A copy of what was learnt about the keyframes' poses and exposures; training may go on.

    Attributes:
        count: number of keyframes K. stamps_ns: theirs, int64 (K,).
        learnt: "pose" (K, 6), "given_pose" (K, 4, 4) and "exposure" (K, 3, 2), see
            ``keyframes.store.LEARNT``.
    """

    count: int
    stamps_ns: NDArray[np.int64]
    learnt: dict[str, NDArray[np.float64]]

    @classmethod
    def of(cls, store: KeyframeStore) -> Moments:
        """What was learnt so far."""
        count = store.count
        learnt = {
            name: store.learnt[name][:count].copy() for name in ("pose", "given_pose", "exposure")
        }
        return cls(count, store.stamps_ns[:count].copy(), learnt)

    def corrected_pose(
        self, stamp_ns: int, T_map_camera: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """See ``corrected_pose``."""
        return corrected_pose(self, stamp_ns, T_map_camera)

    def pose_nearby(self, T_map_camera: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a pose (4, 4) of no known time, corrected as the keyframes around it are.

        The nearest keyframes decide. Far from all of them (``REACH_M``) the correction fades out:
        they tell less about what a pose there is off by.
        """
        corrections = self.learnt["pose"]
        if not corrections.any():
            return T_map_camera
        distance = pose_distances(self.learnt["given_pose"], T_map_camera)
        share = REACH_M / (REACH_M + distance.min())
        return corrected(T_map_camera[None], share * (nearness(distance) @ corrections)[None])[0]

    def exposure(self, stamp_ns: int | None) -> NDArray[np.float64] | None:
        """Return the gain and bias of each channel (3, 2) at a time; None if it is not known."""
        return None if stamp_ns is None else interpolated(self, "exposure", stamp_ns)


def interpolated(
    store: KeyframeStore | Moments, name: str, stamp_ns: int, but: int = -1
) -> NDArray[np.float64] | None:
    """Return ``store.learnt[name]`` at a time, linear between the keyframes before and after it.

    Constant before the first and after the last keyframe. None if no keyframe is within
    ``LONGEST_GAP_NS``. The keyframe in slot ``but`` is ignored.
    """
    others = np.arange(store.count) != but
    stamps = store.stamps_ns[: store.count]
    apart = stamps - stamp_ns
    before, after = np.flatnonzero((apart <= 0) & others), np.flatnonzero((apart >= 0) & others)
    if not others.any() or np.abs(apart[others]).min() > LONGEST_GAP_NS:
        return None
    first = before[np.argmax(apart[before])] if len(before) else after[np.argmin(apart[after])]
    second = after[np.argmin(apart[after])] if len(after) else first
    gap = int(stamps[second] - stamps[first])
    share = (stamp_ns - int(stamps[first])) / gap if gap > 0 else 0.0
    values = store.learnt[name]
    return (1 - share) * values[first] + share * values[second]


def corrected_pose(
    store: KeyframeStore | Moments, stamp_ns: int, T_world_camera: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a pose (4, 4) at this time with the interpolated correction applied."""
    correction = interpolated(store, "pose", stamp_ns)
    if correction is None:
        return T_world_camera
    return corrected(T_world_camera[None], correction[None])[0]


def start_as_neighbours(store: KeyframeStore, slot: int) -> None:
    """Initialise the pose correction of a new keyframe from its neighbours in time."""
    correction = interpolated(store, "pose", int(store.stamps_ns[slot]), but=slot)
    if correction is not None:
        store.learnt["pose"][slot] = correction
        given = store.learnt["given_pose"][slot][None]
        store.cameras.poses[slot] = corrected(given, correction[None])[0]


def exposed(color: NDArray[np.uint8], exposure: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Apply a gain and bias for each channel (3, 2) to colours uint8 (H, W, 3)."""
    return np.clip(exposure[:, 0] * color + 255.0 * exposure[:, 1] + 0.5, 0, 255).astype(np.uint8)
