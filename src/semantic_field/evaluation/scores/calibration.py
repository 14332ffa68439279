"""Calibration of scores; precision and recall of the scores of query answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ThresholdPoint:
    """Precision, recall and F1 if scores from ``threshold`` on are "found"; NaN if undefined."""

    threshold: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Bin:
    """Scores from ``low`` to ``high``: count, mean, and share of those that are right."""

    low: float
    high: float
    count: int
    mean_score: float
    share_right: float


class Reliability:
    """Accumulates scores in 0..1, in bins of equal width, with the share that is right.

    A score on an edge belongs to the bin above, 1 to the last.
    """

    def __init__(self, n_bins: int = 10) -> None:
        self._sums = np.zeros((3, n_bins))  # count, scores, right ones

    def add(self, scores: NDArray[np.floating], right: NDArray[np.bool_]) -> None:
        """Add scores (N,), and whether what they were given for is right (N,)."""
        scores, n_bins = np.asarray(scores, np.float64), self._sums.shape[1]
        index = np.minimum((scores * n_bins).astype(int), n_bins - 1)
        for row, weights in enumerate((None, scores, right)):
            self._sums[row] += np.bincount(index, weights, n_bins)

    def bins(self) -> tuple[Bin, ...]:
        """Return all bins; means of empty ones are NaN."""
        n_bins = self._sums.shape[1]
        nan = float("nan")
        return tuple(
            Bin(
                i / n_bins,
                (i + 1) / n_bins,
                int(count),
                float(scores / count) if count else nan,
                float(right / count) if count else nan,
            )
            for i, (count, scores, right) in enumerate(self._sums.T)
        )

    def ece(self) -> float:
        """Return the expected calibration error; NaN without scores.

        It is the mean |score - share right| of the bins, weighted by count (Guo et al. 2017).
        """
        count, scores, right = self._sums
        total = count.sum()
        return float(np.abs(scores - right).sum() / total) if total else float("nan")


@dataclass(frozen=True)
class Calibration:
    """Attributes:
    ece: expected calibration error, see ``Reliability``.
    brier: mean squared difference of score and truth.
    average_precision: area under precision over recall, scores in descending order.
    """

    ece: float
    brier: float
    average_precision: float
    bins: tuple[Bin, ...]
    curve: tuple[ThresholdPoint, ...]


def calibration(
    scores: NDArray[np.floating], there: NDArray[np.bool_], n_bins: int = 10
) -> Calibration:
    """Compute the calibration of scores 0..1 (N,), given whether the objects are present (N,).

    Raises:
        ValueError: if lengths differ or a score is outside 0..1.
    """
    scores, there = np.asarray(scores, float), np.asarray(there, bool)
    if scores.shape != there.shape or (len(scores) and not (scores >= 0).all()):
        raise ValueError(f"expected as many scores in 0..1 as truths, got {scores} and {there}")
    if (scores > 1).any():
        raise ValueError(f"expected scores in 0..1, got {scores.max()}")
    reliability = Reliability(n_bins)
    reliability.add(scores, there)
    thresholds = np.unique(np.concatenate([np.linspace(0, 1, 21), scores]))
    return Calibration(
        ece=reliability.ece(),
        brier=float(((scores - there) ** 2).mean()) if len(scores) else float("nan"),
        average_precision=_average_precision(scores, there),
        bins=reliability.bins(),
        curve=tuple(_at(float(t), scores, there) for t in thresholds),
    )


def _at(threshold: float, scores: NDArray, there: NDArray) -> ThresholdPoint:
    found = scores >= threshold
    right = int((found & there).sum())
    precision = right / int(found.sum()) if found.any() else float("nan")
    recall = right / int(there.sum()) if there.any() else float("nan")
    both = precision + recall
    f1 = 2 * precision * recall / both if both > 0 else (0.0 if both == 0 else float("nan"))
    return ThresholdPoint(threshold, precision, recall, f1)


def _average_precision(scores: NDArray, there: NDArray) -> float:
    """Return the sum of (R_n - R_n-1) P_n over the distinct scores, highest first."""
    if not there.any():
        return float("nan")
    total, last_recall = 0.0, 0.0
    for threshold in np.unique(scores)[::-1]:
        found = scores >= threshold
        right = (found & there).sum()
        recall = right / there.sum()
        total += float((recall - last_recall) * right / found.sum())
        last_recall = recall
    return total
