"""What the keyframes' corrections say about a moment between them.

Errors of poses and the exposure of a camera change slowly: what was learnt from the keyframes
just before and just after a moment holds for it as well.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semantic_field.mapping.keyframes import KeyframeStore
from semantic_field.mapping.pose_refinement import corrected

LONGEST_GAP_NS = 2_000_000_000


def interpolated(store: KeyframeStore, name: str, stamp_ns: int) -> NDArray[np.float64] | None:
    """``store.learnt[name]`` at a moment: linear between the keyframes before and after it.

    Beyond the first or last keyframe theirs holds. None where no keyframe is within
    ``LONGEST_GAP_NS``.
    """
    stamps = store.stamps_ns[: store.count]
    apart = stamps - stamp_ns
    before, after = np.flatnonzero(apart <= 0), np.flatnonzero(apart >= 0)
    if not len(stamps) or np.abs(apart).min() > LONGEST_GAP_NS:
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
    return T_world_camera if correction is None else corrected(T_world_camera[None], correction[None])[0]


def photographed(
    store: KeyframeStore, stamp_ns: int, color: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Colours of the map (H, W, 3) with the gain and bias of the keyframes around that moment."""
    exposure = interpolated(store, "exposure", stamp_ns)
    if exposure is None:
        return color
    exposed = exposure[:, 0] * color + 255.0 * exposure[:, 1]
    return np.clip(exposed + 0.5, 0, 255).astype(np.uint8)
