"""How well photographs agree: exposures and trust of source views, measured on their overlaps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEAST_POINTS = 12  # that two views must share
NOISE = 4.0  # lowest squared difference of a colour between two photographs of a point, 0..255
MOST_APART = 60.0  # larger differences of a colour count as this: they show something else
PRIOR_POINTS = 15.0  # weight of "exposures are equal", in points
CLOSE_M = 0.05  # exposures are relative to the views within about this distance of the target
LIMITS = (0.5, 2.0)  # of a gain


def exposures_between(
    colors: NDArray[np.float32], seen: NDArray[np.bool_], distance: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the gains and biases that make photographs of the same points agree.

    Gain compensation (Brown and Lowe 2007) with a bias: for each channel, the least squares of
    ``a_i c_i + b_i - a_j c_j - b_j`` over all pairs of views i, j and the points that both see,
    with a prior of a = 1 and b = 0. The result is relative to the views nearest to the target.

    Args:
        colors: float32 (K, N, 3), colours of N points in K views, 0..255.
        seen: bool (K, N), whether the view sees the point.
        distance: (K,), distance of each view from the target.
    Returns:
        a and b of each view and channel, float32 (K, 3, 2).
    """
    near = nearness(distance)
    pairs = seen[:, None] & seen[None]
    pairs[np.arange(len(seen)), np.arange(len(seen))] = False
    pairs &= pairs.sum(2, keepdims=True) >= LEAST_POINTS
    found = np.stack([_matched(c, pairs) for c in np.moveaxis(colors / 255.0, 2, 0)], 1)
    found /= np.einsum("k,kc->c", near, found[..., 0])[:, None]
    found[..., 1] -= np.einsum("k,kc->c", near, found[..., 1])
    found[..., 0] = found[..., 0].clip(*LIMITS)
    found[..., 1] *= 255.0
    return found.astype(np.float32)


def nearness(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weights (K,) of sum 1 of views at distances (K,) from a target; the nearest decide."""
    near = (CLOSE_M + distance) ** -3
    return near / near.sum()


def _matched(color: NDArray, pairs: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Solve one channel, colours (K, N) in 0..1; returns a and b (K, 2)."""
    K = len(color)
    close = pairs & (np.abs(color[:, None] - color[None]) < MOST_APART / 255)
    count, first = close.sum(2), np.einsum("ijn,in->ij", close, color)
    square = np.einsum("ijn,in->i", close, color**2)
    product = np.einsum("ijn,in,jn->ij", close, color, color)
    A, index = np.empty((K, 2, K, 2)), np.arange(K)
    A[:, 0, :, 0], A[:, 0, :, 1] = -product, -first
    A[:, 1, :, 0], A[:, 1, :, 1] = -first.T, -count
    A[index, 0, index, 0] = square + PRIOR_POINTS
    A[index, 0, index, 1] = A[index, 1, index, 0] = first.sum(1)
    A[index, 1, index, 1] = count.sum(1) + PRIOR_POINTS
    prior = np.tile([PRIOR_POINTS, 0.0], K)
    return np.linalg.solve(A.reshape(2 * K, 2 * K), prior).reshape(K, 2).astype(np.float64)


def trust_by_distance(
    colors: NDArray[np.float32],
    seen: NDArray[np.bool_],
    apart: NDArray[np.float64],
    distance: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Return how far to trust each view at its distance from the target, float32 (K,) in 0..1.

    Photographs taken far from each other differ more: by the errors of their poses, and by what
    surfaces reflect. Their squared difference is fitted as ``noise + slope * distance`` over all
    pairs of views. The trust in a view is the inverse of that at its own distance.

    Args:
        colors, seen, distance: see ``exposures_between``. apart: (K, K), distances of the views.
    """
    first, second = np.triu_indices(len(colors), 1)
    both = seen[first] & seen[second]
    count = both.sum(1)
    enough = count >= LEAST_POINTS
    if not enough.any():
        return np.ones(len(colors), np.float32)
    first, second, both, count = first[enough], second[enough], both[enough], count[enough]
    square = (np.minimum(np.abs(colors[first] - colors[second]), MOST_APART) ** 2).mean(2)
    noise, slope = _line(apart[first, second], (square * both).sum(1) / count, count)
    expected = noise + slope * distance
    return (expected.min() / expected).astype(np.float32)


def _line(x: NDArray, y: NDArray, weight: NDArray) -> tuple[float, float]:
    """Fit offset (at least ``NOISE``) and slope (at least 0) of a line through weighted points."""
    mean_x, mean_y = np.average(x, weights=weight), np.average(y, weights=weight)
    variance = (weight * (x - mean_x) ** 2).sum()
    slope = (weight * (x - mean_x) * (y - mean_y)).sum() / variance if variance > 0 else 0.0
    slope = max(slope, 0.0)
    if mean_y - slope * mean_x < NOISE:
        slope = max(mean_y - NOISE, 0.0) / max(mean_x, 1e-9)
    return max(mean_y - slope * mean_x, NOISE), slope
