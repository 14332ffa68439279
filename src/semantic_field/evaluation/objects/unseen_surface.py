"""How far a predicted surface is from the part of the true one that the given view did not see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from semantic_field.data.objects.object_model import ObjectModel
from semantic_field.data.objects.object_surface import surface_samples
from semantic_field.data.objects.object_visibility import visible_points

Array = NDArray[np.float64]


@dataclass(frozen=True)
class UnseenScore:
    """Distances in metres; NaN where there are no points.

    Attributes:
        completeness_m: mean distance of unseen true points to the nearest predicted point.
        accuracy_m: mean distance of the predicted points that belong there to the true surface.
        chamfer_m: mean of the two.
        share: of the true surface that is unseen.
    """

    completeness_m: float
    accuracy_m: float
    chamfer_m: float
    share: float


@dataclass(frozen=True)
class TrueSurface:
    """Points (N, 3) of the whole true surface, and which of them (N,) a camera sees."""

    points: Array
    seen: NDArray[np.bool_]

    @classmethod
    def of(
        cls, model: ObjectModel, T_object_camera: Array, count: int = 6000, seed: int = 0
    ) -> TrueSurface:
        """Return ``count`` samples of an object's surface, and which of them a camera sees."""
        points = surface_samples(model, count, np.random.default_rng(seed)).points
        return cls(points, visible_points(model, points, T_object_camera))


def unseen_score(truth: TrueSurface, predicted: Array) -> UnseenScore:
    """Return how well predicted points (M, 3), same frame, cover what was not seen.

    A predicted point belongs to the unseen part if the nearest true point is unseen.
    """
    unseen = truth.points[~truth.seen]
    share = len(unseen) / len(truth.points)
    if not len(predicted) or not len(unseen):
        return UnseenScore(float("nan"), float("nan"), float("nan"), share)
    missing = float(np.mean(KDTree(predicted).query(unseen)[0]))
    distances, nearest = KDTree(truth.points).query(predicted)
    belongs = ~truth.seen[nearest]
    wrong = float(distances[belongs].mean()) if belongs.any() else float("nan")
    return UnseenScore(missing, wrong, (missing + wrong) / 2, share)
