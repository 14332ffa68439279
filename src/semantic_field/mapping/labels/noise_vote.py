"""Label images with noise: told by neighbours that disagree, settled by a vote of neighbours.

What is left differs from view to view, and the field settles it.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

AGREEING = 0.8  # share of equal neighbours below which labels are noisy; clean ones have 0.95
RADIUS = 3
LIKE_COLOR = 15.0  # difference of RGB (0..255) at which a neighbour's vote counts half
_jit = njit(nogil=True, cache=True, error_model="numpy")


def without_noise(rows: NDArray[np.int16], color: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Class rows (H, W), -1 = void: by vote where they are noisy, else as they are."""
    return voted(rows, color) if agreement(rows) < AGREEING else rows


def agreement(rows: NDArray[np.int16]) -> float:
    """The share of equal ones among labelled pixels side by side; 1 where there are none."""
    left, right = rows[:, :-1], rows[:, 1:]
    both = (left >= 0) & (right >= 0)
    pairs = np.count_nonzero(both)
    return float(np.count_nonzero((left == right) & both) / pairs) if pairs else 1.0


def voted(rows: NDArray[np.int16], color: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Each pixel's class by a vote of the 7 x 7 around it; like colours count more."""
    out = np.empty_like(rows)
    _vote(rows, color.astype(np.float32), int(rows.max()) + 1, out)
    return out


@_jit
def _vote(rows, color, classes, out):
    height, width = rows.shape
    votes = np.zeros(classes, np.float32)
    half = np.float32(LIKE_COLOR * LIKE_COLOR)
    for v in range(height):
        for u in range(width):
            votes[:] = 0
            best = -1
            for i in range(max(0, v - RADIUS), min(height, v + RADIUS + 1)):
                for j in range(max(0, u - RADIUS), min(width, u + RADIUS + 1)):
                    row = rows[i, j]
                    if row < 0:
                        continue
                    apart = np.float32(0)
                    for c in range(3):
                        apart += (color[i, j, c] - color[v, u, c]) ** 2
                    votes[row] += half / (half + apart)
                    if best < 0 or votes[row] > votes[best]:
                        best = row
            out[v, u] = best
