"""From a stored depth image to surface points in the map frame."""

# Compiled functions carry no annotations: Numba infers their types.
from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.field.rays.sampling import DEPTH_UNIT_M, GUESSED
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.kernels.threads import run_together

_READING = GUESSED - 1
_jit = njit(nogil=True, cache=True, error_model="numpy")


@_jit
def _backproject(stored, intrinsics, pose, step, points, along, guessed):
    """Fill the results row by row; returns how many pixels have a depth."""
    height, width = stored.shape
    fx, fy, cx, cy = intrinsics
    rows, columns = int(np.ceil((height - 1) / step)), int(np.ceil((width - 1) / step))
    n = 0
    for i in range(rows):
        v = i * step
        y = (v - cy) / fy
        line = stored[int(np.rint(v))]
        for j in range(columns):
            u = j * step
            depth = line[int(np.rint(u))]
            if depth == 0:
                continue
            x, z = (u - cx) / fx, (depth & _READING) * DEPTH_UNIT_M
            length = np.sqrt(x * x + y * y + 1.0)
            for axis in range(3):
                ray = pose[axis, 0] * x + pose[axis, 1] * y + pose[axis, 2]
                points[n, axis] = pose[axis, 3] + z * ray
                along[n, axis] = ray / length
            guessed[n] = depth & GUESSED
            n += 1
    return n


def surface_points(
    stored: NDArray[np.uint16], intrinsics: NDArray, pose: NDArray, step: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Surface points (N, 3) of every ``step``-th pixel with a depth, metres in the map frame.

    Also the unit directions of their rays (N, 3), and which of them are guesses (N,). A step
    may be part of a pixel: such points take the depth of the nearest one.

    Args:
        stored: depths (H, W) in ``DEPTH_UNIT_M``, 0 = none, with the bit ``GUESSED``.
        intrinsics: fx, fy, cx, cy. pose: ``T_world_camera`` (4, 4).
    """
    height, width = stored.shape
    most = int(np.ceil((height - 1) / step)) * int(np.ceil((width - 1) / step))
    points, along = np.empty((most, 3), np.float32), np.empty((most, 3), np.float32)
    guessed = np.empty(most, np.bool_)
    numbers = tuple(float(value) for value in intrinsics)
    pose = np.ascontiguousarray(pose, dtype=np.float64)
    n = _backproject(stored, numbers, pose, float(step), points, along, guessed)
    return points[:n], along[:n], guessed[:n]


def mark_voxels(
    surface: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]],
    voxels: VoxelGrid,
    reach: VoxelGrid,
) -> None:
    """Count the voxels in which readings lie, and those in which rays will look for a surface.

    Args:
        surface: what ``surface_points`` gives.
        voxels: gets the readings; a guess is no observation.
        reach: gets readings and guesses, and what lies a voxel before and behind them.
    """
    points, along, guessed = surface

    def insert_around() -> None:
        around = [points + np.float32(shift * reach.voxel_m) * along for shift in (-1, 0, 1)]
        reach.insert(np.concatenate(around))

    run_together(insert_around, lambda: voxels.insert(points, ~guessed))
