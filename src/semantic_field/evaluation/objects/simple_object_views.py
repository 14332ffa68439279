"""The simplest ways to predict views of an object: another object's, warped ones, the majority."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from semantic_field.data.objects.object_views import BACKGROUND, ObjectCollection, ObjectView
from semantic_field.evaluation.objects.object_view_scores import PredictedView
from semantic_field.geometry import depth_to_world, invert_transform, transform_points

WHITE = 255
FILL_PX = 2.0  # to the nearest warped pixel: farther ones are background


class NearestInstance:
    """Takes the views of the training instance whose image from the same place is most alike.

    The view with the same number must be taken from the same direction for all instances.
    """

    def __init__(self, train: ObjectCollection) -> None:
        self._train = train

    def find(self, view: ObjectView, index: int, by_labels: bool = False) -> int:
        """Return the instance whose view ``index`` differs least from a view of another object.

        Args:
            by_labels: compare part labels (share of pixels that differ) instead of colours (MSE).
        Raises:
            ValueError: if labels are to be compared and there are none.
        """
        costs = []
        for instance in range(len(self._train.names)):
            other = self._train.view(instance, index)
            costs.append(_label_cost(view, other) if by_labels else _color_cost(view, other))
        return int(np.argmin(costs))

    def views(self, instance: int, indices: Sequence[int]) -> list[PredictedView]:
        """Return an instance's own views as predictions."""
        views = [self._train.view(instance, index) for index in indices]
        return [PredictedView(view.color, view.parts) for view in views]


def _color_cost(first: ObjectView, second: ObjectView) -> float:
    return float(np.square(first.color.astype(np.float64) - second.color).mean())


def _label_cost(first: ObjectView, second: ObjectView) -> float:
    if first.parts is None or second.parts is None:
        raise ValueError("expected part labels in both views, got none: give labelled objects")
    return float((first.parts != second.parts).mean())


def warped(view: ObjectView, target: ObjectView) -> PredictedView:
    """Return one view's pixels moved by its true depth to where the target camera sees them.

    The nearest surface wins; a pixel that none falls on takes the nearest one within ``FILL_PX``,
    all others are background. It knows the view's depth and labels.

    Raises:
        ValueError: if the view has no depth.
    """
    if view.depth is None:
        raise ValueError("expected a view with depth to warp, got none")
    camera, use = target.camera, view.depth > 0
    points = depth_to_world(view.depth, view.camera, view.T_object_camera, use)
    own = transform_points(invert_transform(target.T_object_camera), points)
    index, columns, rows, z = camera.pixels_inside(own)
    order = np.argsort(-z, kind="stable")  # the nearest one is written last
    source = np.full((camera.height, camera.width), -1, np.int64)
    source[rows[order], columns[order]] = index[order]
    source = _filled(source)
    color = np.full((*source.shape, 3), WHITE, np.uint8)
    color[source >= 0] = view.color[use][source[source >= 0]]
    if view.parts is None:
        return PredictedView(color)
    parts = np.full(source.shape, BACKGROUND, np.uint8)
    parts[source >= 0] = view.parts[use][source[source >= 0]]
    return PredictedView(color, parts)


def _filled(source: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give empty pixels (-1) the nearest filled one's value, up to ``FILL_PX`` away."""
    if not (source >= 0).any():
        return source
    empty = source < 0
    away = np.asarray(distance_transform_edt(empty))
    nearest = np.asarray(distance_transform_edt(empty, return_distances=False, return_indices=True))
    return np.where(away <= FILL_PX, source[nearest[0], nearest[1]], -1)


def majority_view(labelled: Sequence[ObjectView]) -> PredictedView:
    """Return the most frequent class everywhere, and the mean colour of each pixel.

    Raises:
        ValueError: without labelled views.
    """
    parts = [view.parts for view in labelled if view.parts is not None]
    if not parts:
        raise ValueError("expected labelled views, got none")
    most = int(np.bincount(np.concatenate([p.ravel() for p in parts])).argmax())
    color = np.mean([view.color for view in labelled], axis=0)
    return PredictedView(np.rint(color).astype(np.uint8), np.full(parts[0].shape, most, np.uint8))
