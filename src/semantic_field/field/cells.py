"""Cells of space by number: one integer for each, which sorts and is looked up fast.

Cells may lie up to 2^20 of them from the origin on each axis (-2^20 <= i < 2^20: 10 km at 1 cm);
beyond, numbers mean other cells. Numbers rise with x, then y, then z.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FARTHEST = 1 << 20
HALF_AROUND = np.array(
    [[x, y, z] for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if (x, y, z) > (0, 0, 0)]
)
"""Steps (13, 3) to one of each opposite pair of a cell's 26 neighbours."""


def cell_numbers(points: NDArray[np.floating], cell_m: float) -> NDArray[np.int64]:
    """The numbers (N,) of the cells, of edge ``cell_m`` metres, of finite points (N, 3)."""
    return numbers_of(np.floor(np.asarray(points) / cell_m).astype(np.int64))


def numbers_of(cells: NDArray[np.integer]) -> NDArray[np.int64]:
    """The numbers (N,) of cells (N, 3); cell (i, j, k) begins at (i, j, k) times its edge."""
    x, y, z = (cells.astype(np.int64) + FARTHEST).T
    return (x << 42) | (y << 21) | z


def step_number(step: NDArray[np.integer]) -> int:
    """What a step (3,) from cell to cell adds to a number; it must not lead over the limit."""
    x, y, z = step.tolist()
    return (x << 42) + (y << 21) + z


def find_cells(
    cells: NDArray[np.int64], numbers: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where numbers (N,) stand among ``cells`` (C,), which rise, and which of them are there (N,).

    The place of one that is not there means nothing. Where ``cells`` is empty, none is there, and
    the places are 0: do not look them up.
    """
    if not len(cells):
        return np.zeros(len(numbers), np.int64), np.zeros(len(numbers), np.bool_)
    place = np.searchsorted(cells, numbers)
    place[place == len(cells)] = 0
    return place, cells[place] == numbers
