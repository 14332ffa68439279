"""Average precision of 2D instance masks.

Two rules. "dm_nerf" (DM-NeRF, and GP-NeRF after it): every true mask is matched with one predicted
mask, or with none (Hungarian; the cost is the cross-entropy of the two masks plus 1 - IoU), so a
prediction that matches nothing costs nothing. "coco": predictions
in order of confidence each take the best true mask that is still free, and those without one are
false positives. In both the area under the precision envelope is the AP, per image, then the mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RULES = ("dm_nerf", "coco")
WRONG_PIXEL = -math.log(1e-8)  # cross-entropy of a pixel that two hard masks disagree on
STEPS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))  # .50:.95


@dataclass(frozen=True)
class InstanceScore:
    """AP at IoU .50, .75 and the mean over .50:.05:.95; NaN without true masks."""

    ap50: float
    ap75: float
    ap: float
    true_masks: int
    predicted_masks: int


def instance_score(
    truth: NDArray[np.integer],
    predicted: NDArray[np.integer],
    confidence: NDArray[np.floating],
    rule: str = "dm_nerf",
    min_pixels: int = 1,
) -> InstanceScore:
    """AP of one image.

    Args:
        truth: object ids (H, W), -1 = none (outside of every mask).
        predicted: object ids (H, W), -1 = none.
        confidence: (H, W); a mask's is its median.
        min_pixels: smaller true masks are not asked for.
    Raises:
        ValueError: on an unknown rule or shapes that differ.
    """
    if rule not in RULES:
        raise ValueError(f"expected a rule of {RULES}, got {rule!r}")
    if not truth.shape == predicted.shape == confidence.shape:
        raise ValueError(
            f"expected images of one shape, got {truth.shape}, {predicted.shape}, "
            f"{confidence.shape}"
        )
    pairs = _mask_pairs(truth, predicted, confidence, min_pixels)
    if not len(pairs.iou):
        nan = float("nan")
        return InstanceScore(nan, nan, nan, 0, len(pairs.scores))
    hits = _matched_hits(pairs) if rule == "dm_nerf" else _greedy_hits(pairs.iou, pairs.scores)
    every = [average_precision(hits(threshold), len(pairs.iou)) for threshold in STEPS]
    return InstanceScore(
        ap50=every[0],
        ap75=every[STEPS.index(0.75)],
        ap=float(np.mean(every)),
        true_masks=len(pairs.iou),
        predicted_masks=len(pairs.scores),
    )


def mean_score(images: list[InstanceScore]) -> InstanceScore:
    """The mean over the images that have true masks; counts are sums."""
    used = [image for image in images if image.true_masks]

    def mean(name: str) -> float:
        return float(np.mean([getattr(image, name) for image in used])) if used else float("nan")

    return InstanceScore(
        mean("ap50"),
        mean("ap75"),
        mean("ap"),
        sum(image.true_masks for image in images),
        sum(image.predicted_masks for image in images),
    )


@dataclass(frozen=True)
class _MaskPairs:
    """T true and P predicted masks: IoU (T, P), matching cost (T, P + T), confidences (P,).

    The last T columns of the cost stand for "no mask at all".
    """

    iou: NDArray[np.float64]
    cost: NDArray[np.float64]
    scores: NDArray[np.float64]


def _mask_pairs(
    truth: NDArray, predicted: NDArray, confidence: NDArray, min_pixels: int
) -> _MaskPairs:
    true_ids, true_sizes = np.unique(truth[truth >= 0], return_counts=True)
    true_ids = true_ids[true_sizes >= min_pixels]
    true_sizes = true_sizes[true_sizes >= min_pixels]
    ids, sizes = np.unique(predicted[predicted >= 0], return_counts=True)
    common = np.zeros((len(true_ids), len(ids)))
    for row, true_id in enumerate(true_ids):
        inside = predicted[(truth == true_id) & (predicted >= 0)]
        found, counts = np.unique(inside, return_counts=True)
        common[row, np.searchsorted(ids, found)] = counts
    either = true_sizes[:, None] + sizes - common
    iou = common / np.maximum(either, 1)
    different = np.concatenate([either - common, np.tile(true_sizes, (len(true_ids), 1)).T], axis=1)
    cost = WRONG_PIXEL * different / truth.size
    cost += 1.0 - np.concatenate([iou, np.zeros((len(true_ids), len(true_ids)))], axis=1)
    scores = np.array([np.median(confidence[predicted == i]) for i in ids], np.float64)
    return _MaskPairs(iou, cost, scores)


def _matched_hits(pairs: _MaskPairs) -> Callable[[float], NDArray[np.bool_]]:
    """For each true mask, by the confidence of its partner: whether the IoU is above."""
    from scipy.optimize import linear_sum_assignment

    best, confidence = np.zeros(len(pairs.iou)), np.zeros(len(pairs.iou))
    rows, columns = linear_sum_assignment(pairs.cost)
    real = columns < len(pairs.scores)
    rows, columns = rows[real], columns[real]
    best[rows], confidence[rows] = pairs.iou[rows, columns], pairs.scores[columns]
    ordered = best[np.argsort(-confidence, kind="stable")]
    return lambda threshold: ordered > threshold


def _greedy_hits(iou: NDArray, scores: NDArray) -> Callable[[float], NDArray[np.bool_]]:
    """For each predicted mask, most confident first: whether it takes a free true mask."""

    def hits_at(threshold: float) -> NDArray[np.bool_]:
        free = np.ones(len(iou), bool)
        hits = np.zeros(len(scores), bool)
        for place, column in enumerate(np.argsort(-scores, kind="stable")):
            candidates = np.where(free, iou[:, column], -1.0)
            row = int(candidates.argmax())
            if candidates[row] >= threshold:
                hits[place], free[row] = True, False
        return hits

    return hits_at


def average_precision(hits: NDArray[np.bool_], n_true: int) -> float:
    """Area under the precision envelope over recall, of hits (most confident first)."""
    if not len(hits):
        return 0.0
    right = np.cumsum(hits)
    precision, recall = right / np.arange(1, len(hits) + 1), right / n_true
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * envelope).sum())
