"""Voxel keys: one int64 per voxel, for sorting and binary search.

Voxel coordinates must satisfy -2^20 <= i < 2^20 on each axis (10 km at 1 cm); beyond that, keys
collide. Keys are ordered by x, then y, then z.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FARTHEST = 1 << 20
HALF_AROUND = np.array(
    [[x, y, z] for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if (x, y, z) > (0, 0, 0)]
)
"""Offsets (13, 3) to half of a cell's 26 neighbours: one of each opposite pair."""


def cell_numbers(points: NDArray[np.floating], cell_m: float) -> NDArray[np.int64]:
    """Return the keys (N,) of the cells (edge ``cell_m`` metres) that hold finite points (N, 3)."""
    return numbers_of(np.floor(np.asarray(points) / cell_m).astype(np.int64))


def numbers_of(cells: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the keys (N,) of cells (N, 3); cell (i, j, k) begins at (i, j, k) times its edge."""
    x, y, z = (cells.astype(np.int64) + FARTHEST).T
    return (x << 42) | (y << 21) | z


def step_number(step: NDArray[np.integer]) -> int:
    """Return what an offset (3,) between cells adds to a key; both cells must be within limits."""
    x, y, z = step.tolist()
    return (x << 42) + (y << 21) + z


def find_cells(
    cells: NDArray[np.int64], numbers: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Look up keys ``numbers`` (N,) in the sorted keys ``cells`` (C,) by binary search.

    Returns:
        Index (N,) of each key in ``cells``, and whether it was found (N,). The index of a key that
        was not found has no meaning; with empty ``cells`` all indices are 0, which is out of range.
    """
    if not len(cells):
        return np.zeros(len(numbers), np.int64), np.zeros(len(numbers), np.bool_)
    place = np.searchsorted(cells, numbers)
    place[place == len(cells)] = 0
    return place, cells[place] == numbers
