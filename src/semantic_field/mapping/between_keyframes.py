"""What the keyframes' corrections say about a moment between them.

Errors of poses and the exposure of a camera change slowly: what was learnt from the keyframes
just before and just after a moment holds for it as well.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semantic_field.mapping.keyframes import KeyframeStore
from semantic_field.mapping.pose_refinement import corrected, interpolated


def corrected_pose(
    store: KeyframeStore, stamp_ns: int, T_world_camera: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A pose of that moment (4, 4), corrected as the keyframes around it were."""
    correction = interpolated(store, "pose", stamp_ns)
    return (
        T_world_camera
        if correction is None
        else corrected(T_world_camera[None], correction[None])[0]
    )


def photographed(
    store: KeyframeStore, stamp_ns: int, color: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Colours of the map (H, W, 3) with the gain and bias of the keyframes around that moment."""
    exposure = interpolated(store, "exposure", stamp_ns)
    if exposure is None:
        return color
    exposed = exposure[:, 0] * color + 255.0 * exposure[:, 1]
    return np.clip(exposed + 0.5, 0, 255).astype(np.uint8)
