"""Average precision of 2D instance masks.

Two rules. "dm_nerf" (DM-NeRF, and GP-NeRF after it): every true mask is matched with one predicted
mask (Hungarian, on IoU), so a prediction that matches nothing costs nothing. "coco": predictions
in order of confidence each take the best true mask that is still free, and those without one are
false positives. In both the area under the precision envelope is the AP, per image, then the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RULES = ("dm_nerf", "coco")
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
    iou, scores = _mask_ious(truth, predicted, confidence, min_pixels)
    if not len(iou):
        nan = float("nan")
        return InstanceScore(nan, nan, nan, 0, len(scores))
    every = [_ap_at(iou, scores, threshold, rule) for threshold in STEPS]
    return InstanceScore(
        ap50=every[0],
        ap75=every[STEPS.index(0.75)],
        ap=float(np.mean(every)),
        true_masks=len(iou),
        predicted_masks=len(scores),
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


def _mask_ious(
    truth: NDArray, predicted: NDArray, confidence: NDArray, min_pixels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """IoU (T, P) of all pairs of masks, and the P confidences."""
    true_ids, true_sizes = np.unique(truth[truth >= 0], return_counts=True)
    true_ids = true_ids[true_sizes >= min_pixels]
    ids, sizes = np.unique(predicted[predicted >= 0], return_counts=True)
    iou = np.zeros((len(true_ids), len(ids)))
    for row, true_id in enumerate(true_ids):
        mask = truth == true_id
        inside, counts = np.unique(predicted[mask & (predicted >= 0)], return_counts=True)
        columns = np.searchsorted(ids, inside)
        iou[row, columns] = counts / (mask.sum() + sizes[columns] - counts)
    return iou, np.array([np.median(confidence[predicted == i]) for i in ids], np.float64)


def _ap_at(iou: NDArray, scores: NDArray, threshold: float, rule: str) -> float:
    if rule == "dm_nerf":
        hits = _matched_hits(iou, scores, threshold)
    else:
        hits = _greedy_hits(iou, scores, threshold)
    return average_precision(hits, len(iou))


def _matched_hits(iou: NDArray, scores: NDArray, threshold: float) -> NDArray[np.bool_]:
    """For each true mask, by the confidence of its partner: whether the IoU is above."""
    from scipy.optimize import linear_sum_assignment

    best, confidence = np.zeros(len(iou)), np.zeros(len(iou))
    rows, columns = linear_sum_assignment(-iou)
    best[rows], confidence[rows] = iou[rows, columns], scores[columns]
    return best[np.argsort(-confidence, kind="stable")] > threshold


def _greedy_hits(iou: NDArray, scores: NDArray, threshold: float) -> NDArray[np.bool_]:
    """For each predicted mask, most confident first: whether it takes a free true mask."""
    free = np.ones(len(iou), bool)
    hits = np.zeros(len(scores), bool)
    for place, column in enumerate(np.argsort(-scores, kind="stable")):
        candidates = np.where(free, iou[:, column], -1.0)
        row = int(candidates.argmax())
        if candidates[row] >= threshold:
            hits[place], free[row] = True, False
    return hits


def average_precision(hits: NDArray[np.bool_], n_true: int) -> float:
    """Area under the precision envelope over recall, of hits (most confident first)."""
    if not len(hits):
        return 0.0
    right = np.cumsum(hits)
    precision, recall = right / np.arange(1, len(hits) + 1), right / n_true
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * envelope).sum())
