"""Which surface of a true scene was observed, by the true depth of the mapped frames."""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.frames import Frame
from semantic_field.geometry import depth_to_world, invert_transform, pose_distances

SAME_SURFACE = 1e-3  # relative difference up to which two exact depths are of one surface
SAME_SURFACE_M = 2e-3
_jit = njit(nogil=True, cache=True, error_model="numpy")


class ObservedSurface:
    """Tells which pixels of a true view show surface that was observed by some mapped frame.

    A surface point is observed if it projects into a frame, lies in the sensor's range, and is
    not behind the frame's true surface at the four pixels around it. What a real sensor misses
    within its range (grazing surfaces, glass) counts as observed.

    Args:
        frames: exact views (without noise) at the poses of the mapped frames, of one size.
        range_m: z-depths between which the sensor has readings, metres.
    """

    def __init__(self, frames: Sequence[Frame], range_m: tuple[float, float]) -> None:
        self._depths = np.stack([frame.depth for frame in frames])
        self._poses = np.stack([frame.T_world_camera for frame in frames])
        self._intrinsics = np.stack([frame.camera.intrinsics for frame in frames])
        self._range = range_m

    def __call__(self, truth: Frame) -> NDArray[np.bool_]:
        """Return a mask (H, W) of the observed pixels; pixels without surface are not observed.

        Args:
            truth: an exact view.
        """
        surface = truth.depth > 0
        points = depth_to_world(truth.depth, truth.camera, truth.T_world_camera, surface)
        # Near frames see most of it: asked first, they save asking the others.
        order = np.argsort(pose_distances(self._poses, truth.T_world_camera), kind="stable")
        transforms = np.stack([invert_transform(self._poses[i]) for i in order])
        observed = np.zeros(truth.depth.shape, bool)
        observed[surface] = _seen(
            np.asarray(points, np.float64), self._depths, order, transforms,
            self._intrinsics, *self._range,
        )  # fmt: skip
        return observed


@_jit
def _seen(points, depths, order, T_camera_world, intrinsics, near, far):
    """Return whether each point (N, 3) is seen by any frame; frames are asked in ``order``."""
    seen = np.zeros(points.shape[0], np.bool_)
    for n in range(points.shape[0]):
        for k in range(order.shape[0]):
            T, frame = T_camera_world[k], order[k]
            x = T[0, 0] * points[n, 0] + T[0, 1] * points[n, 1] + T[0, 2] * points[n, 2] + T[0, 3]
            y = T[1, 0] * points[n, 0] + T[1, 1] * points[n, 1] + T[1, 2] * points[n, 2] + T[1, 3]
            z = T[2, 0] * points[n, 0] + T[2, 1] * points[n, 1] + T[2, 2] * points[n, 2] + T[2, 3]
            if not near <= z <= far:
                continue
            u = x / z * intrinsics[frame, 0] + intrinsics[frame, 2]
            v = y / z * intrinsics[frame, 1] + intrinsics[frame, 3]
            if _unhidden(depths[frame], u, v, z):
                seen[n] = True
                break
    return seen


@_jit
def _unhidden(depth, u, v, z):
    """Return whether (u, v) is in the image and z not behind the surface at the pixels around."""
    height, width = depth.shape
    if not (-0.5 <= u < width - 0.5 and -0.5 <= v < height - 0.5):
        return False
    left, top = math.floor(u), math.floor(v)
    farthest = 0.0
    for row in range(max(top, 0), min(top + 2, height)):
        for column in range(max(left, 0), min(left + 2, width)):
            behind = depth[row, column]
            if not behind > 0:
                return True  # nothing is there that could hide it
            farthest = max(farthest, behind)
    return z <= farthest * (1 + SAME_SURFACE) + SAME_SURFACE_M
