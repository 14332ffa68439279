"""Forgets voxels that a depth image sees through."""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.field.voxels.voxel_grid import VoxelGrid

MARGIN_M = 0.10
MARGIN_SHARE = 0.03
WINDOW = 7
KEPT = 4  # a voxel that is seen through keeps one in so many of its observations


@njit(nogil=True, cache=True, error_model="numpy")
def _carve(bricks, counts, voxel, intrinsics, R, p, depth, margin, share, kept, cleared):
    """Lower the counts of voxels in free space; fills ``cleared`` (N, 3), returns how many."""
    height, width = depth.shape
    fx, fy, cx, cy = intrinsics
    radius = voxel * 8 * 0.87
    q, c, number = np.empty(3), np.empty(3), 0
    for b in range(len(counts)):
        for axis in range(3):
            q[axis] = (bricks[b, axis] * 8 + 4) * voxel - p[axis]
        for axis in range(3):
            c[axis] = R[0, axis] * q[0] + R[1, axis] * q[1] + R[2, axis] * q[2]
        near = max(c[2] + radius, 1e-3)
        if c[2] + radius <= 0 or abs(c[0]) - radius > near * width / fx:
            continue
        if abs(c[1]) - radius > near * height / fy:
            continue
        for cell in range(512):
            if counts[b, cell] == 0:
                continue
            x = (bricks[b, 0] * 8 + (cell & 7) + 0.5) * voxel
            y = (bricks[b, 1] * 8 + (cell >> 3 & 7) + 0.5) * voxel
            z = (bricks[b, 2] * 8 + (cell >> 6) + 0.5) * voxel
            q[0], q[1], q[2] = x - p[0], y - p[1], z - p[2]
            for axis in range(3):
                c[axis] = R[0, axis] * q[0] + R[1, axis] * q[1] + R[2, axis] * q[2]
            if c[2] <= 0:
                continue
            u = int(np.rint(c[0] / c[2] * fx + cx))
            v = int(np.rint(c[1] / c[2] * fy + cy))
            if not (0 <= u < width and 0 <= v < height):
                continue
            if depth[v, u] <= c[2] + margin + share * c[2]:
                continue
            counts[b, cell] //= kept
            if counts[b, cell] == 0:
                if number < len(cleared):
                    cleared[number, 0], cleared[number, 1], cleared[number, 2] = x, y, z
                    number += 1
                else:
                    counts[b, cell] = 1  # no room to report it: the next image will
    return number


def clear_depth(depth: NDArray[np.float32], window: int = WINDOW) -> NDArray[np.float32]:
    """How far (H, W) a depth image surely sees: the least depth of the ``window`` around each
    pixel, less what the depths there differ; not above 0 beside a hole.
    """
    around = np.ones((window, window), np.uint8)
    return np.float32(2) * cv2.erode(depth, around) - cv2.dilate(depth, around)  # type: ignore


def carve(
    grid: VoxelGrid,
    clear: NDArray[np.float32],
    intrinsics: NDArray,
    T_world_camera: NDArray,
    most: int = 1 << 16,
) -> NDArray[np.float32]:
    """Lower the counts of voxels that a depth image sees through.

    A voxel is seen through where every pixel around its own reads at least ``MARGIN_M`` and
    ``MARGIN_SHARE`` of the depth beyond its centre, and as much more as these pixels differ among
    themselves: holes, silhouettes and surfaces seen at a flat angle carve nothing. It keeps
    one in ``KEPT`` of its observations, so that what was seen often takes several images to
    forget. Returns the centres (N, 3) of those that have none left.

    Args:
        clear: ``clear_depth`` (H, W) of the image. intrinsics: fx, fy, cx, cy.
    """
    cleared = np.empty((most, 3), np.float32)
    pose = np.asarray(T_world_camera, dtype=np.float64)
    R, p = np.ascontiguousarray(pose[:3, :3]), pose[:3, 3].copy()
    store = (grid.bricks[: len(grid)], grid.counts[: len(grid)], float(grid.voxel_m))
    view = (tuple(float(v) for v in intrinsics), R, p, clear)
    number = _carve(*store, *view, MARGIN_M, MARGIN_SHARE, KEPT, cleared)
    if number:
        grid.forget_strides()
    return cleared[:number].copy()
