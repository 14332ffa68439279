"""Depth images of several frames made consistent: outliers removed, agreeing depths averaged."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from semantic_field.generalizable.fusion_kernels import judge
from semantic_field.generalizable.gathering import NEAREST_M, SAME_M, SAME_SHARE

ROUNDS = 2
LEAST = 0.35  # trust that a depth and its supporters must have together


def fused(
    depths: Float[NDArray, "V H W"],
    confidence: Float[NDArray, "V H W"],
    intrinsics: Float[NDArray, "V 4"],
    poses: Float[NDArray, "V 4 4"],
) -> Float[NDArray, "V H W"]:
    """Return depth images in which frames that see the same surface agree.

    A depth stays if it and the others that have a surface there are believed more than those that
    see through it. What stays becomes the mean of those that agree, weighted by their confidence
    (after Merrell et al. 2007). A surface that nobody else sees stays if it is confident itself.

    Args:
        depths: z-depths, metres, 0 = none. confidence: 0..1, of the same pixels.
        intrinsics: fx fy cx cy, pixels. poses: ``T_world_camera``.

    Returns:
        Float32 z-depths, metres, 0 = none.
    """
    T = np.linalg.inv(poses)[:, None] @ poses[None]
    depths = np.ascontiguousarray(depths, np.float32)
    trust = np.ascontiguousarray(confidence, np.float32)
    for _ in range(ROUNDS):
        support, against, mean = (np.empty_like(depths) for _ in range(3))
        judge(
            depths, trust, intrinsics.astype(np.float64), T,
            SAME_SHARE, SAME_M, NEAREST_M, support, against, mean,
        )  # fmt: skip
        believed = trust + support
        stays = (believed >= LEAST) & (believed > against)
        depths = np.where(stays, mean, 0).astype(np.float32)
    return depths
