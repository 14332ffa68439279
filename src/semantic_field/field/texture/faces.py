"""Faces of a mesh: their neighbours, normals, and normals averaged over a neighbourhood."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROUNDS = 4  # of averaging


def neighbours_of(triangles: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the triangles int32 (M, 3) beyond the three edges of each, -1 = none.

    Where more than two triangles share an edge, they are paired in any way.
    """
    M = len(triangles)
    ends = np.stack([triangles, np.roll(triangles, -1, 1)], -1).reshape(-1, 2).astype(np.int64)
    key = ends.min(1) << 32 | ends.max(1)
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.ones(len(key), bool)
    first[1:] = key[1:] != key[:-1]
    rank = np.arange(len(key)) - np.maximum.accumulate(np.where(first, np.arange(len(key)), 0))
    second = np.flatnonzero((rank % 2 == 1) & ~first)
    found = np.full(3 * M, -1, np.int32)
    found[order[second]] = order[second - 1] // 3
    found[order[second - 1]] = order[second] // 3
    return found.reshape(M, 3)


def normals_of(
    xyz: NDArray[np.float32], triangles: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return unit normals float32 (M, 3) of triangles, zero where degenerate, and areas (M,), m^2.

    A normal points to where the corners are seen counter-clockwise.
    """
    a, b, c = (xyz[triangles[:, corner]].astype(np.float64) for corner in range(3))
    across = np.cross(b - a, c - a)
    length = np.linalg.norm(across, axis=1)
    normals = across / np.maximum(length, 1e-12)[:, None]
    return normals.astype(np.float32), (0.5 * length).astype(np.float32)


def averaged(
    normals: NDArray[np.float32], areas: NDArray[np.float32], neighbours: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return normals (M, 3) averaged over a few rings of neighbours, and flatness (M,) in 0..1.

    Flatness is the length of the mean of the unit normals: 1 on a plane, small at edges.
    """
    weighted = np.hstack([normals * areas[:, None], areas[:, None]])
    none = np.zeros((1, 4), weighted.dtype)
    for _ in range(ROUNDS):
        weighted = weighted + np.vstack([weighted, none])[neighbours].sum(1)  # -1 is the last row
        weighted /= 4
    length = np.linalg.norm(weighted[:, :3], axis=1)
    flatness = length / np.maximum(weighted[:, 3], 1e-20)
    return (weighted[:, :3] / np.maximum(length, 1e-20)[:, None]).astype(np.float32), flatness
