"""View selection by greedy set cover of surface cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from semantic_field.field.cells import cell_numbers
from semantic_field.frames import Frame
from semantic_field.geometry import transform_points

CELL_M = 0.1
ACROSS = 80  # pixels per image row that are used


def cells_of(points: NDArray[np.floating], cell_m: float = CELL_M) -> NDArray[np.int64]:
    """Return the sorted, unique keys of the cells of edge ``cell_m`` that hold points (N, 3)."""
    return np.unique(cell_numbers(points, cell_m))


def first_of_cells(points: NDArray[np.floating], cell_m: float) -> NDArray[np.int64]:
    """Return the index of the first point in each occupied cell."""
    return np.unique(cell_numbers(points, cell_m), return_index=True)[1]


def visible_cells(frame: Frame) -> NDArray[np.int64]:
    """Return the keys of the surface cells that are visible in a frame's depth."""
    stride = max(1, frame.camera.width // ACROSS)
    points = frame.camera.backproject(frame.depth)[::stride, ::stride]
    seen = points[frame.depth[::stride, ::stride] > 0]
    return cells_of(transform_points(frame.T_world_camera, seen))


def greedy_cover(sets: Sequence[NDArray[np.int64]], count: int) -> list[int]:
    """Choose at most ``count`` sets, each the one that adds most elements; stops if none adds any.

    Covers at least 1 - 1/e of the optimum (Nemhauser et al. 1978). Returns indices in the order
    of choice.
    """
    left, chosen = list(sets), []
    while len(chosen) < count:
        sizes = [len(part) for part in left]
        best = int(np.argmax(sizes)) if sizes else 0
        if not sizes or sizes[best] == 0:
            break
        chosen.append(best)
        covered = left[best]
        left = [np.setdiff1d(part, covered, assume_unique=True) for part in left]
    return chosen


def choose_views(frames: Iterable[Frame], count: int) -> list[int]:
    """Return the sorted positions of ``count`` frames that together show the most surface."""
    return sorted(greedy_cover([visible_cells(frame) for frame in frames], count))
