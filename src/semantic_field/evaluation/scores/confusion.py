"""One confusion accumulator for every mIoU: what is counted, over which classes, per image or set.

Published figures differ in exactly these choices (see ``conventions``), so each is an explicit
option of a ``Rule`` and is printed with every figure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FREQUENT_SHARE = 0.001  # of all ground-truth pixels: rarer classes decide a mean too easily
_CHOICES = {
    "scope": ("image", "set"),
    "classes": ("gt", "union", "all"),
    "void": ("ignore", "class"),
    "unpredicted": ("miss", "class", "drop"),
    "empty_image": ("skip", "zero"),
}


@dataclass(frozen=True)
class Rule:
    """How pixels become one mean.

    Attributes:
        scope: "image" = a figure for each image, then their mean; "set" = one matrix for all.
        classes: over which classes the mean goes: "gt" = with ground truth (in that image or
            set), "union" = with ground truth or predictions, "all" = all, absent ones as 0.
        void: ground truth without a class is left out ("ignore"), or is one more "class".
        unpredicted: a labelled pixel without a prediction is a "miss" of its class; or was
            predicted as one more "class" without ground truth; or is left out ("drop").
        empty_image: an image without labelled pixels is left out ("skip") or counts as "zero".
    """

    scope: str = "set"
    classes: str = "gt"
    void: str = "ignore"
    unpredicted: str = "miss"
    empty_image: str = "skip"

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"expected {name} in {choices}, got {getattr(self, name)!r}")

    def describe(self) -> str:
        """The rule as one line of text."""
        return ", ".join(f"{name}={getattr(self, name)}" for name in _CHOICES)


@dataclass(frozen=True)
class ClassScore:
    """One class over the whole set; ``iou`` and ``accuracy`` are NaN where undefined.

    ``truth`` and ``predicted`` are pixel (or point) counts among what the rule counts.
    """

    name: str
    iou: float
    accuracy: float
    truth: int
    predicted: int


@dataclass(frozen=True)
class Scores:
    """What a rule makes of a set of images; all figures 0..1, NaN where nothing was counted.

    Attributes:
        miou: mean IoU as the rule says.
        miou_frequent: the same over the classes with more than 0.1 % of the ground truth.
        fw_iou: IoU weighted by how frequent each class is in the ground truth.
        total_accuracy: share of the counted pixels that are right.
        class_accuracy: mean of the classes' accuracies (recalls).
        pixels: how many pixels were counted.
        images: how many images the figures are over.
    """

    miou: float
    miou_frequent: float
    fw_iou: float
    total_accuracy: float
    class_accuracy: float
    pixels: int
    images: int
    classes: tuple[ClassScore, ...]


class ConfusionMatrix:
    """Accumulates pairs of true and predicted class rows.

    Args:
        names: of the C classes, in the order of their rows.
        rule: what is counted.
    """

    def __init__(self, names: tuple[str, ...], rule: Rule) -> None:
        self.names, self.rule = tuple(names), rule
        size = len(self.names) + 1
        self.counts = np.zeros((size, size), np.int64)  # (true, predicted); the last one is void
        self._images: list[NDArray[np.int64]] = []

    def add(self, truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> None:
        """Count one image: rows 0..C-1, -1 = void or no prediction; any one shape for both.

        Raises:
            ValueError: where shapes differ or a row is out of range.
        """
        counts = count_pairs(truth, predicted, len(self.names))
        self.counts += counts
        if self.rule.scope == "image":
            self._images.append(counts)

    def result(self) -> Scores:
        """The figures of everything added so far."""
        matrices = self._images if self.rule.scope == "image" else [self.counts]
        tables = [_Table(counts, self.rule) for counts in matrices]
        whole = _Table(self.counts, self.rule)
        frequent = whole.truth > FREQUENT_SHARE * max(1, whole.truth.sum())

        def mean(values: list[float]) -> float:
            if self.rule.empty_image == "zero":
                return float(np.mean(np.nan_to_num(values))) if values else float("nan")
            return _nanmean(np.asarray(values, float))

        return Scores(
            miou=mean([table.miou() for table in tables]),
            miou_frequent=mean([table.miou(frequent) for table in tables]),
            fw_iou=mean([table.fw_iou() for table in tables]),
            total_accuracy=mean([table.total_accuracy() for table in tables]),
            class_accuracy=mean([table.class_accuracy() for table in tables]),
            pixels=int(whole.truth.sum()),
            images=len(self._images) if self.rule.scope == "image" else 1,
            classes=whole.classes(self.names),
        )


def count_pairs(
    truth: NDArray[np.integer], predicted: NDArray[np.integer], n_classes: int
) -> NDArray[np.int64]:
    """Counts (C+1, C+1) of (true, predicted) rows; -1 is counted in the last row and column."""
    if truth.shape != predicted.shape:
        raise ValueError(f"expected images of one shape, got {truth.shape} and {predicted.shape}")
    for name, rows in (("true", truth), ("predicted", predicted)):
        if rows.size and (rows.min() < -1 or rows.max() >= n_classes):
            raise ValueError(
                f"expected {name} rows in -1..{n_classes - 1}, got {rows.min()}..{rows.max()}"
            )
    size = n_classes + 1
    rows = np.where(truth < 0, n_classes, truth).astype(np.int64).ravel()
    columns = np.where(predicted < 0, n_classes, predicted).astype(np.int64).ravel()
    return np.bincount(rows * size + columns, minlength=size * size).reshape(size, size)


class _Table:
    """One matrix as a rule reads it."""

    def __init__(self, counts: NDArray[np.int64], rule: Rule) -> None:
        counts, n = counts.copy(), len(counts) - 1
        if rule.void == "ignore":
            counts[n] = 0
        if rule.unpredicted == "drop" and rule.void == "ignore":
            counts[:, n] = 0
        has_void_class = "class" in (rule.void, rule.unpredicted)
        self.rule, self.count = rule, n + 1 if has_void_class else n
        self.right = counts.diagonal()[: self.count]
        self.truth = counts.sum(axis=1)[: self.count]
        self.predicted = counts.sum(axis=0)[: self.count]
        union = self.truth + self.predicted - self.right
        self.iou = _ratio(self.right, union)
        self.accuracy = _ratio(self.right, self.truth)

    def miou(self, keep: NDArray[np.bool_] | None = None) -> float:
        """The mean over the rule's classes, of those in ``keep``; NaN without any."""
        if not self.truth.sum():
            return float("nan")
        use = np.ones(self.count, bool) if keep is None else keep.copy()
        if self.rule.classes == "all":
            return float(np.nan_to_num(self.iou)[use].mean()) if use.any() else float("nan")
        if self.rule.classes == "gt":
            use &= self.truth > 0
        return _nanmean(self.iou[use])

    def fw_iou(self) -> float:
        total = self.truth.sum()
        return float((np.nan_to_num(self.iou) * self.truth).sum() / total) if total else np.nan

    def total_accuracy(self) -> float:
        total = self.truth.sum()
        return float(self.right.sum() / total) if total else float("nan")

    def class_accuracy(self) -> float:
        return _nanmean(self.accuracy)

    def classes(self, names: tuple[str, ...]) -> tuple[ClassScore, ...]:
        every = (*names, "void")[: self.count]
        return tuple(
            ClassScore(
                name,
                float(self.iou[i]),
                float(self.accuracy[i]),
                int(self.truth[i]),
                int(self.predicted[i]),
            )
            for i, name in enumerate(every)
        )


def _ratio(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
    result = np.full(len(whole), np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def _nanmean(values: NDArray[np.float64]) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
