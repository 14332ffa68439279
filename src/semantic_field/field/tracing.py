"""Follows viewing rays to the surface, by the signed distance of the field itself.

A ray first skips to a voxel in which a surface was observed (or guessed, for holes of the depth
images), then takes steps of the signed distance until it has passed through zero.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

from functools import partial

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from semantic_field.field.map_state import MapState
from semantic_field.geometry import Camera
from semantic_field.kernels.threads import run_chunks

MAX_WAVES = 60
STEP_SHARE = 0.8  # distances are learnt along rays: the nearest surface may be nearer
EXTRA_STEP_M = 0.004
LONGEST_BRACKET_M = 0.08
CHUNK = 1 << 14
_jit = njit(nogil=True, cache=True, error_model="numpy")


def trace(
    state: MapState,
    origin: NDArray[np.float64],
    directions: NDArray[np.float32],
    near: float,
    far: float,
) -> NDArray[np.float32]:
    """Ray parameter (N,) of the first surface along ``origin + t * directions``; inf = none."""
    n, threads = len(directions), state.field.kernels.threads
    origin = np.ascontiguousarray(origin, dtype=np.float64)
    t = np.full(n, near, np.float32)
    hit = np.full(n, np.inf, np.float32)
    last_t, last_s = t.copy(), np.full_like(t, np.inf)
    rays = np.arange(n)
    for _ in range(MAX_WAVES):
        state.reach.advance(origin, directions, t, far, rays, threads)
        rays = rays[np.isfinite(t[rays])]
        if not len(rays):
            break
        points = np.empty((len(rays), 3), np.float32)
        arrays = (origin, directions, t, rays)
        run_chunks(partial(points_on_rays, *arrays, points), len(rays), threads, CHUNK)
        s = state.field.distance(torch.from_numpy(points)).numpy()
        arrays = (directions, t, s, last_t, last_s, hit, rays)
        run_chunks(partial(_step, *arrays), len(rays), threads, CHUNK)
        rays = rays[s >= 0]
    return hit


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
def points_on_rays(origin, directions, t, rays, points, start, stop):
    """Fill ``points`` ``start`` to ``stop``: where the listed rays are at their parameters."""
    for i in range(start, stop):
        n = rays[i]
        for axis in range(3):
            points[i, axis] = origin[axis] + t[n] * directions[n, axis]


@_jit
def _step(directions, t, s, last_t, last_s, hit, rays, start, stop):
    """Note where rays with a negative distance have passed the surface; move the others on."""
    for i in range(start, stop):
        n = rays[i]
        x, y, z = directions[n, 0], directions[n, 1], directions[n, 2]
        stretch = np.sqrt(x * x + y * y + z * z)
        if s[i] < 0:
            hit[n] = _crossing(last_t[n], last_s[n], t[n], s[i], stretch)
        else:
            last_t[n], last_s[n] = t[n], s[i]
            t[n] += (STEP_SHARE * s[i] + EXTRA_STEP_M) / stretch


@njit(inline="always")
def _crossing(last_t, last_s, t, s, stretch):
    """The zero between two samples of a ray, or near the only one (by its own distance)."""
    if np.isfinite(last_s) and (t - last_t) * stretch < LONGEST_BRACKET_M:
        return last_t + (t - last_t) * last_s / (last_s - s)
    return t + s / stretch
