"""Which few views together show the most: a greedy cover of cells of the surface."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from semantic_field.field.cells import cell_numbers
from semantic_field.frames import Frame
from semantic_field.geometry import transform_points

CELL_M = 0.1
ACROSS = 80  # pixels of an image row that are looked at


def cells_of(points: NDArray[np.floating], cell_m: float = CELL_M) -> NDArray[np.int64]:
    """The cells of edge ``cell_m`` in which points (N, 3) lie, each once, as rising numbers."""
    return np.unique(cell_numbers(points, cell_m))


def first_of_cells(points: NDArray[np.floating], cell_m: float) -> NDArray[np.int64]:
    """Index of the first point of each cell that holds any."""
    return np.unique(cell_numbers(points, cell_m), return_index=True)[1]


def visible_cells(frame: Frame) -> NDArray[np.int64]:
    """Cells of the surface that a frame's depth shows."""
    stride = max(1, frame.camera.width // ACROSS)
    points = frame.camera.backproject(frame.depth)[::stride, ::stride]
    seen = points[frame.depth[::stride, ::stride] > 0]
    return cells_of(transform_points(frame.T_world_camera, seen))


def greedy_cover(sets: Sequence[NDArray[np.int64]], count: int) -> list[int]:
    """At most ``count`` sets, each the one that adds most to those before; ends when none adds.

    At least 1 - 1/e of what the best choice would cover (Nemhauser et al. 1978).
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
    """Positions of the ``count`` frames that together show the most surface, in order."""
    return sorted(greedy_cover([visible_cells(frame) for frame in frames], count))
