"""Whether the confidence of rendered pixels says how often their label and depth are right."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semantic_field.evaluation.scores.calibration import Reliability
from semantic_field.evaluation.scores.image_quality import RIGHT_DEPTH_M
from semantic_field.field.views.rendering import RenderedView


class PixelConfidence:
    """Accumulates the confidence of views against their labels and depths.

    A label is right if it is the true class, a depth if it is within 5 cm. Pixels that show
    nothing are wrong; if they say so (confidence 0), that is calibrated.
    """

    def __init__(self) -> None:
        self._label, self._depth = Reliability(), Reliability()

    def add_labels(
        self, truth: NDArray[np.int32], predicted: NDArray[np.int32], view: RenderedView
    ) -> None:
        """Add the pixels that have a true class.

        Args:
            truth, predicted: rows of a ``ClassSet`` (H, W), -1 = none.
            view: has the confidence.
        """
        known = truth >= 0
        self._label.add(view.confidence[known], (truth == predicted)[known])

    def add_depths(self, truth: NDArray[np.float32], view: RenderedView) -> None:
        """Add the pixels that have a true z-depth ``truth`` (H, W) above 0, metres."""
        known = truth > 0
        right = (view.depth > 0) & (np.abs(view.depth - truth) < RIGHT_DEPTH_M)
        self._depth.add(view.confidence[known], right[known])

    def result(self) -> dict[str, Any]:
        """Return expected calibration errors and bins, for labels and for depths."""
        return {
            "label_ece": self._label.ece(),
            "depth_ece": self._depth.ece(),
            "label_bins": [asdict(item) for item in self._label.bins()],
            "depth_bins": [asdict(item) for item in self._depth.bins()],
        }
