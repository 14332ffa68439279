"""From where on the rays of a camera can meet a surface, by tiles of its image.

Voxels that may hold a surface are drawn as boxes into an image of nearest depths, one pixel per
tile; rays skip the space before the nearest box of their tile and find what they would have found.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.field.voxels.voxel_grid import BRICK, VoxelGrid
from semantic_field.geometry import Camera

TILE = 8  # pixels
_jit = njit(nogil=True, cache=True, error_model="numpy")


@dataclass(frozen=True)
class View:
    """A camera at a pose (4, 4) in the map frame, whose rays begin at z-depth ``near_m``."""

    camera: Camera
    T_world_camera: NDArray[np.float64]
    near_m: float


@njit(inline="always")
def _range(low, high, nearest, farthest, focal, centre, tiles):
    """First and last tile that a box can be seen in, on one axis of the image."""
    first = min(low / nearest, low / farthest) * focal + centre
    last = max(high / nearest, high / farthest) * focal + centre
    # Clipped before they become integers: beside the camera they are as large as they like.
    first = np.floor((min(max(first, -1.0), tiles * TILE + 1.0) - 1.0) / TILE)
    last = np.floor((min(max(last, -1.0), tiles * TILE + 1.0) + 1.0) / TILE)
    return max(int(first), 0), min(int(last), tiles - 1)


@njit(inline="always")
def _seen(x, y, z, radius, intrinsics, near, tiles):
    """Nearest depth and tiles (first and last, both axes) of a box around a point of the camera."""
    fx, fy, cx, cy = intrinsics
    nearest, farthest = max(near, z - radius), z + radius
    if farthest <= near:
        return nearest, 0, -1, 0, -1
    left, right = _range(x - radius, x + radius, nearest, farthest, fx, cx, tiles.shape[1])
    top, bottom = _range(y - radius, y + radius, nearest, farthest, fy, cy, tiles.shape[0])
    return nearest, left, right, top, bottom


@_jit
def _draw(bricks, flags, voxel, origin, rotation, intrinsics, near, tiles):
    """Draw all voxels with a flag; ``rotation`` leads from the map's axes to the camera's."""
    half = np.sqrt(3.0) / 2 * voxel
    for slot in range(len(bricks)):
        corner = bricks[slot] * (BRICK * voxel) - origin
        middle = rotation @ (corner + BRICK / 2 * voxel)
        _, left, right, top, bottom = _seen(
            middle[0], middle[1], middle[2], BRICK * half, intrinsics, near, tiles
        )
        if left > right or top > bottom:
            continue
        first = rotation @ (corner + 0.5 * voxel)
        for cell in range(BRICK**3):
            if flags[slot, cell] == 0:
                continue
            i, j, k = (cell & 7) * voxel, (cell >> 3 & 7) * voxel, (cell >> 6) * voxel
            depth, left, right, top, bottom = _seen(
                first[0] + rotation[0, 0] * i + rotation[0, 1] * j + rotation[0, 2] * k,
                first[1] + rotation[1, 0] * i + rotation[1, 1] * j + rotation[1, 2] * k,
                first[2] + rotation[2, 0] * i + rotation[2, 1] * j + rotation[2, 2] * k,
                half, intrinsics, near, tiles,
            )  # fmt: skip
            for row in range(top, bottom + 1):
                for column in range(left, right + 1):
                    tiles[row, column] = min(tiles[row, column], depth)


def first_depths(
    view: View, bricks: NDArray[np.int32], flags: NDArray[np.uint8], grid: VoxelGrid
) -> NDArray[np.float32]:
    """The z-depth (H * W,) before which no pixel's ray is in a voxel with a flag; inf = never.

    Args:
        bricks, flags: coordinates (B, 3) of bricks of ``grid``, and of their voxels (B, 512).
    """
    camera = view.camera
    tiles = np.full((-(-camera.height // TILE), -(-camera.width // TILE)), np.inf, np.float32)
    pose = np.asarray(view.T_world_camera, np.float64)
    intrinsics = (camera.fx, camera.fy, camera.cx, camera.cy)
    axes = np.ascontiguousarray(pose[:3, :3].T)
    _draw(bricks, flags, grid.voxel_m, pose[:3, 3].copy(), axes, intrinsics, view.near_m, tiles)
    image = np.repeat(np.repeat(tiles, TILE, 0)[: camera.height], TILE, 1)[:, : camera.width]
    return np.ascontiguousarray(image).reshape(-1)
