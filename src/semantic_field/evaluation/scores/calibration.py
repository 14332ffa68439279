"""Whether ``found`` and its score can be believed: precision, recall and calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ThresholdPoint:
    """What calling everything from ``threshold`` up "found" would give; NaN where undefined."""

    threshold: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Bin:
    """Scores of one range: how many, their mean, and the share that was really there."""

    low: float
    high: float
    count: int
    mean_score: float
    share_right: float


@dataclass(frozen=True)
class Calibration:
    """Attributes:
    ece: expected calibration error, mean |score - share right| weighted by count (Guo 2017).
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
    """Compare scores 0..1 (N,) with what is really there (N,).

    Raises:
        ValueError: where lengths differ or a score is outside 0..1.
    """
    scores, there = np.asarray(scores, float), np.asarray(there, bool)
    if scores.shape != there.shape or (len(scores) and not (scores >= 0).all()):
        raise ValueError(f"expected as many scores in 0..1 as truths, got {scores} and {there}")
    if (scores > 1).any():
        raise ValueError(f"expected scores in 0..1, got {scores.max()}")
    bins = _bins(scores, there, n_bins)
    n = max(1, len(scores))
    thresholds = np.unique(np.concatenate([np.linspace(0, 1, 21), scores]))
    nan = float("nan")
    return Calibration(
        ece=float(sum(b.count * abs(b.mean_score - b.share_right) for b in bins if b.count) / n)
        if len(scores)
        else nan,
        brier=float(((scores - there) ** 2).mean()) if len(scores) else nan,
        average_precision=_average_precision(scores, there),
        bins=bins,
        curve=tuple(_at(float(t), scores, there) for t in thresholds),
    )


def _bins(scores: NDArray, there: NDArray, n_bins: int) -> tuple[Bin, ...]:
    """Equal widths; a score on an edge belongs to the bin above, 1 to the last."""
    index = np.minimum((scores * n_bins).astype(int), n_bins - 1)
    result = []
    for i in range(n_bins):
        mine = index == i
        count = int(mine.sum())
        mean = float(scores[mine].mean()) if count else float("nan")
        share = float(there[mine].mean()) if count else float("nan")
        result.append(Bin(i / n_bins, (i + 1) / n_bins, count, mean, share))
    return tuple(result)


def _at(threshold: float, scores: NDArray, there: NDArray) -> ThresholdPoint:
    found = scores >= threshold
    right = int((found & there).sum())
    precision = right / int(found.sum()) if found.any() else float("nan")
    recall = right / int(there.sum()) if there.any() else float("nan")
    both = precision + recall
    f1 = 2 * precision * recall / both if both > 0 else (0.0 if both == 0 else float("nan"))
    return ThresholdPoint(threshold, precision, recall, f1)


def _average_precision(scores: NDArray, there: NDArray) -> float:
    """Sum of (R_n - R_n-1) P_n over the distinct scores, highest first; ties fall together."""
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
