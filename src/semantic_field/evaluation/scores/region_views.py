"""Scores of parts of views, such as the pixels that show what was observed at all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from semantic_field.evaluation.scores.class_set import ClassSet
from semantic_field.evaluation.scores.confusion import ConfusionMatrix, Rule
from semantic_field.evaluation.scores.image_quality import depth_score, psnr
from semantic_field.evaluation.scores.pixel_confidence import PixelConfidence
from semantic_field.field.views.rendering import RenderedView
from semantic_field.frames import Frame


class RegionViews:
    """Accumulates colour, label and depth scores over the pixels of masks.

    Pixels outside a mask count for nothing, neither as truth nor as prediction. Inside, a pixel
    without a label misses its true class if it has one; its colour counts whatever it is.

    Args:
        classes: what is scored; without classes there are no label scores.
        rule: of the mIoU.
    """

    def __init__(self, classes: ClassSet, rule: Rule) -> None:
        self._classes, self._matrix = classes, ConfusionMatrix(classes.names, rule)
        self._confidence = PixelConfidence()
        self._pixels = self._all = 0
        self._views: list[dict[str, float]] = []

    def add(self, truth: Frame, view: RenderedView, mask: NDArray[np.bool_]) -> None:
        """Score the pixels ``mask`` (H, W) of one view against an exact view of the same camera."""
        self._pixels, self._all = self._pixels + int(mask.sum()), self._all + mask.size
        true_depth = np.where(mask, truth.depth, np.float32(0))
        depth = depth_score(true_depth, view.depth)
        self._views.append(
            {
                "psnr": psnr(truth.color, view.color, mask),
                "depth_l1_m": depth.l1,
                "depth_early_5cm": depth.early_5cm,
                "depth_late_5cm": depth.late_5cm,
                "depth_covered": depth.covered,
            }
        )
        self._confidence.add_depths(true_depth, view)
        if truth.labels is not None and len(self._classes):
            true_rows = np.where(mask, self._classes.rows(truth.labels), -1)
            rows = self._classes.rows(view.label)
            self._matrix.add(true_rows[mask], rows[mask])
            self._confidence.add_labels(true_rows, rows, view)

    def result(self) -> dict[str, Any]:
        """Return the share of pixels, mean scores of the views that have some, and one mIoU.

        None where nothing defines a score. PSNR leaves out views without any error.
        """

        def mean(name: str) -> float | None:
            finite = [view[name] for view in self._views if np.isfinite(view[name])]
            return float(np.mean(finite)) if finite else None

        names = ("psnr", "depth_l1_m", "depth_early_5cm", "depth_late_5cm", "depth_covered")
        figures: dict[str, Any] = {name: mean(name) for name in names}
        labels, confidence = self._matrix.result(), self._confidence.result()
        known = labels.pixels > 0
        return figures | {
            "share": self._pixels / self._all if self._all else None,
            "miou": labels.miou if known else None,
            "miou_frequent": labels.miou_frequent if known else None,
            "label_ece": confidence["label_ece"],
            "depth_ece": confidence["depth_ece"],
        }


class Knowledge:
    """Accumulates how often views say rightly that they do not know what is at a pixel.

    A view says so by depth 0 or confidence 0.
    """

    def __init__(self) -> None:
        self._counts = np.zeros((2, 2), np.int64)  # (observed, said to be unknown)

    def add(self, view: RenderedView, observed: NDArray[np.bool_]) -> None:
        """Count one view; ``observed`` (H, W) is true where the surface was observed."""
        unknown = (view.depth == 0) | (view.confidence == 0)
        pairs = 2 * observed.ravel().astype(np.int64) + unknown.ravel()
        self._counts += np.bincount(pairs, minlength=4).reshape(2, 2)

    def result(self) -> dict[str, float | None]:
        """Return the shares (0..1) of unobserved and of observed pixels said to be unknown."""
        totals = self._counts.sum(axis=1)
        return {
            name: float(self._counts[row, 1] / totals[row]) if totals[row] else None
            for row, name in enumerate(("unobserved_said", "observed_said"))
        }
