"""Follows viewing rays to the surface.

Rays walk through the lattice of signed distances; one step along the ray by the field's own
distance, known once the field is asked for colours there, puts the depth where the field is zero.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.field.description import Description
from semantic_field.geometry import Camera

FLATTEST = 0.3  # least change of distance per metre of ray that a correction divides by
LONGEST_CORRECTION_M = 0.01
_jit = njit(nogil=True, cache=True, error_model="numpy")


def ray_directions(camera: Camera, T_world_camera: NDArray) -> NDArray[np.float32]:
    """Directions (H * W, 3) of a camera's rays in the map frame, of z-depth 1."""
    out = np.empty((camera.width * camera.height, 3), np.float32)
    intrinsics = (camera.fx, camera.fy, camera.cx, camera.cy)
    _fill_directions(intrinsics, np.array(T_world_camera[:3, :3], float), camera.width, out)
    return out


@_jit
def _fill_directions(intrinsics, rotation, width, out):
    fx, fy, cx, cy = intrinsics
    for n in range(len(out)):
        x, y = (n % width - cx) / fx, (n // width - cy) / fy
        for axis in range(3):
            out[n, axis] = rotation[axis, 0] * x + rotation[axis, 1] * y + rotation[axis, 2]


@_jit
def points_on_rays(origin, directions, t, rays, points):
    """Fill ``points``: where the listed rays are at their parameters."""
    for i in range(len(rays)):
        n = rays[i]
        for axis in range(3):
            points[i, axis] = origin[axis] + t[n] * directions[n, axis]


@_jit
def _correct(directions, rays, distance, gradient, depth):
    for i in range(len(rays)):
        n = rays[i]
        slope, squared = np.float32(0), np.float32(0)
        for axis in range(3):
            slope -= gradient[i, axis] * directions[n, axis]
            squared += directions[n, axis] ** 2
        stretch = np.sqrt(squared)
        step = distance[i] / max(slope / stretch, np.float32(FLATTEST))
        limit = np.float32(LONGEST_CORRECTION_M)
        depth[n] += min(max(step, -limit), limit) / stretch


def correct_depth(
    directions: NDArray[np.float32],
    rays: NDArray[np.int64],
    seen: Description,
    depth: NDArray[np.float32],
) -> None:
    """Move the depths of the listed rays by one Newton step along each ray.

    At most ``LONGEST_CORRECTION_M``: farther away the distances between are not known.
    """
    _correct(directions, rays, seen.distance, seen.gradient, depth)
