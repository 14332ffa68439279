"""Signed distances of one code on a regular lattice, near its surface only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from semantic_field.object_prior.signed_distance.sphere_tracing import Distance

CELLS = 16  # on one axis of a brick
BLOCK = 4  # cells on one axis of a block that is looked at as one
SLACK = 1.3  # distances of a network are not quite distances
LEVELS = 30.0  # int8 steps of one spacing
CHUNK = 16384  # points that are evaluated at once


@dataclass(frozen=True)
class CodeIndex:
    """Where the bricks are; see ``BrickIndex``, lengths in canonical units."""

    voxel_m: float
    bricks: NDArray[np.int32]
    low: NDArray[np.int64]
    index: NDArray[np.int32]


@dataclass(frozen=True)
class CodeBricks:
    """The distances at the nodes of the bricks that hold surface; see ``NodeBricks``."""

    stored: NDArray[np.int8]
    reach: CodeIndex


def bake_bricks(distance: Distance, reach: float, spacing: float) -> CodeBricks:
    """Return the bricks of the cube of half edge ``reach`` that may hold surface.

    Nodes far from the surface only have the sign of the block they are in.

    Args:
        distance: of one code, for points (1, N, 3).
        spacing: of the nodes, canonical units.
    """
    edge = CELLS * spacing
    count = int(np.ceil(reach / edge))
    places = np.indices((2 * count,) * 3).reshape(3, -1).T - count
    middles = evaluated(distance, (places + 0.5) * edge)
    kept = places[np.abs(middles) < _reach_of(edge)]
    index = np.full((2 * count,) * 3, -1, np.int32)
    index[tuple((kept + count).T)] = np.arange(len(kept), dtype=np.int32)
    low = np.full(3, -count, np.int64)
    where = CodeIndex(2.0 * spacing, kept.astype(np.int32), low, index)
    return CodeBricks(_nodes(distance, kept, spacing), where)


def evaluated(distance: Distance, points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the signed distances (N,) of points (N, 3), a part at a time."""
    rows = torch.from_numpy(points.astype(np.float32)).split(CHUNK)
    with torch.no_grad():
        found = [distance(each.unsqueeze(0))[0] for each in rows]
    return torch.cat(found).numpy() if found else np.zeros(0, np.float32)


def _reach_of(edge: float) -> float:
    """Return how far the surface may be from the middle of a cube that it meets."""
    return SLACK * edge * 3**0.5 / 2


def _nodes(distance: Distance, bricks: NDArray, spacing: float) -> NDArray[np.int8]:
    """Return the stored distances (B, 17, 17, 17), z first, of bricks (B, 3)."""
    blocks = CELLS // BLOCK
    local = np.indices((blocks,) * 3).reshape(3, -1).T  # x, y, z
    middles = bricks[:, None] * CELLS + (local[None] + 0.5) * BLOCK  # (B, blocks ** 3, 3)
    found = evaluated(distance, middles.reshape(-1, 3) * spacing)
    near = np.abs(found) < _reach_of(BLOCK * spacing)
    levels = np.where(found < 0, -127, 127).astype(np.int8)
    stored = np.empty((len(bricks), *(CELLS + 1,) * 3), np.int8)
    wanted = np.zeros(stored.shape, bool)
    shape = (len(bricks), *(blocks,) * 3)
    for (x, y, z), own, sign in zip(
        local,
        near.reshape(len(bricks), -1).T,
        levels.reshape(len(bricks), -1).T,
        strict=True,
    ):
        a, b, c = (slice(BLOCK * i, BLOCK * i + BLOCK + 1) for i in (z, y, x))
        stored[:, a, b, c] = sign[:, None, None, None]
        wanted[:, a, b, c] |= own[:, None, None, None]
    assert near.size == np.prod(shape)
    brick, k, j, i = np.nonzero(wanted)
    exact = evaluated(distance, (bricks[brick] * CELLS + np.stack([i, j, k], 1)) * spacing)
    steps = np.clip(np.rint(exact * (LEVELS / spacing)), -127, 127).astype(np.int8)
    stored[brick, k, j, i] = np.where(exact < 0, np.minimum(steps, -1), np.maximum(steps, 0))
    return stored
