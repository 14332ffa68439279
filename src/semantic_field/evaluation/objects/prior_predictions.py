"""What a prior predicts for a code: views with labels, and points of the whole surface."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.data.objects.object_views import ObjectView
from semantic_field.evaluation.objects.object_view_scores import PredictedView
from semantic_field.geometry import Camera, look_at
from semantic_field.object_prior.label_layers import rendered_view
from semantic_field.object_prior.prior_model import ObjectPrior

SURROUNDING = 20  # cameras around an object whose surface is gathered
AWAY = 3.2  # of them from the canonical origin, canonical units
SURFACE_SIZE = 72


@torch.no_grad()
def predicted_views(
    prior: ObjectPrior, code: Tensor, cameras: Sequence[ObjectView]
) -> list[PredictedView]:
    """Return colours and labels for the cameras of views; the views' images are not used."""
    found = []
    for view in cameras:
        pixels = rendered_view(prior, code, view)
        shape = view.camera.height, view.camera.width
        color = (pixels.color[0].clamp(0, 1) * 255).round().to(torch.uint8)
        parts = prior.label_logits(pixels)[0].argmax(-1).to(torch.uint8)
        found.append(
            PredictedView(
                color.reshape(*shape, 3).cpu().numpy(), parts.reshape(shape).cpu().numpy()
            )
        )
    return found


@torch.no_grad()
def predicted_surface(prior: ObjectPrior, code: Tensor) -> NDArray[np.float64]:
    """Return points (N, 3) of the whole surface, object's own frame: where rays from around end.

    Rays that are more likely background than object are left out.
    """
    points = []
    for view in _cameras_around(prior):
        pixels = rendered_view(prior, code, view)
        on = pixels.opacity[0] > 0.5
        points.append(pixels.points[0][on].cpu().numpy().astype(np.float64))
    return prior.frame.to_object(np.concatenate(points))


def _cameras_around(prior: ObjectPrior) -> list[ObjectView]:
    """Return empty views evenly around the canonical origin, below it too (a Fibonacci lattice)."""
    size = SURFACE_SIZE
    focal = 0.5 * size * np.sqrt(AWAY**2 - 1.5**2) / 1.5  # a ball of 1.5 fills the image
    camera = Camera(focal, focal, (size - 1) / 2, (size - 1) / 2, size, size)
    blank = np.full((size, size, 3), 255, np.uint8)
    numbers = np.arange(SURROUNDING) + 0.5
    heights, turns = 1 - 2 * numbers / SURROUNDING, numbers * np.pi * (3 - np.sqrt(5))
    level = np.sqrt(1 - heights**2)
    eyes = AWAY * np.stack([level * np.cos(turns), level * np.sin(turns), heights], axis=1)
    middle = prior.frame.to_object(np.zeros(3))
    poses = [np.asarray(look_at(prior.frame.to_object(eye), middle), np.float64) for eye in eyes]
    return [ObjectView(blank, camera, pose) for pose in poses]
