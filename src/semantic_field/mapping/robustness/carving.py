"""Space carving: removes voxels that a depth image sees through."""

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
KEPT = 4  # observation counts of voxels that are seen through are divided by this


@njit(nogil=True, cache=True, error_model="numpy")
def _carve(bricks, counts, voxel, intrinsics, R, p, depth, margin, share, kept, cleared):
    """Reduce the counts of voxels in free space; fills ``cleared`` (N, 3), returns the number."""
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
                    counts[b, cell] = 1  # ``cleared`` is full: left for the next image
    return number


def clear_depth(depth: NDArray[np.float32], window: int = WINDOW) -> NDArray[np.float32]:
    """Return a lower bound (H, W) of the free depth at each pixel.

    The least depth in the ``window`` around the pixel, minus the range of depths there; at most 0
    next to a hole.
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
    """Reduce the counts of voxels that a depth image sees through, in place.

    A voxel is seen through if ``clear`` at its pixel is beyond its centre by ``MARGIN_M`` plus
    ``MARGIN_SHARE`` of the depth; so holes, silhouettes and surfaces at grazing angles carve
    nothing. Its count is divided by ``KEPT``, so that voxels with many observations need several
    images to be removed.

    Args:
        clear: ``clear_depth`` (H, W) of the image.
        intrinsics: fx, fy, cx, cy.
        T_world_camera: (4, 4), in the map's own coordinates.
        most: largest number of voxels cleared at once.
    Returns:
        The centres (N, 3) of the voxels that are now empty.
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
