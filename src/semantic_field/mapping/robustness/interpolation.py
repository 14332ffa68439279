"""What the keyframes' corrections say about a moment between them.

Errors of poses and the exposure of a camera change slowly: what was learnt from the keyframes
just before and just after a moment holds for it as well.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.robustness.pose_refinement import corrected

LONGEST_GAP_NS = 2_000_000_000


def interpolated(
    store: KeyframeStore, name: str, stamp_ns: int, but: int = -1
) -> NDArray[np.float64] | None:
    """``store.learnt[name]`` at a moment: linear between the keyframes before and after it.

    Beyond the first or last keyframe theirs holds. None where no keyframe is within
    ``LONGEST_GAP_NS``. The keyframe in slot ``but`` is left out.
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
    store: KeyframeStore, stamp_ns: int, T_world_camera: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A pose of that moment (4, 4), corrected as the keyframes around it were."""
    correction = interpolated(store, "pose", stamp_ns)
    if correction is None:
        return T_world_camera
    return corrected(T_world_camera[None], correction[None])[0]


def start_as_neighbours(store: KeyframeStore, slot: int) -> None:
    """Correct a new keyframe as those around it in time are corrected: errors change slowly."""
    correction = interpolated(store, "pose", int(store.stamps_ns[slot]), but=slot)
    if correction is not None:
        store.learnt["pose"][slot] = correction
        given = store.learnt["given_pose"][slot][None]
        store.cameras.poses[slot] = corrected(given, correction[None])[0]


def exposed(color: NDArray[np.uint8], exposure: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Colours of the map (H, W, 3) with a gain and bias for each channel (3, 2)."""
    return np.clip(exposure[:, 0] * color + 255.0 * exposure[:, 1] + 0.5, 0, 255).astype(np.uint8)
