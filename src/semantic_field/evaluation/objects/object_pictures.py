"""Pictures of a prior: one view to many with labels, and from one object to another."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.data.objects.object_cameras import poses_at, square_camera
from semantic_field.data.objects.object_model import ObjectModel
from semantic_field.data.objects.object_rendering import lit, render_views
from semantic_field.data.objects.object_views import ObjectView
from semantic_field.evaluation.objects.object_view_scores import PredictedView
from semantic_field.evaluation.objects.prior_predictions import predicted_views
from semantic_field.geometry import look_at
from semantic_field.object_prior.prior_model import ObjectPrior

PALETTE = np.array(
    [
        [255, 255, 255],
        [228, 87, 72],
        [64, 120, 200],
        [72, 176, 100],
        [240, 188, 60],
        [150, 96, 190],
    ],
    np.uint8,
)
RIM_PX = 4
SPACE = 1.15  # canonical units from the middle that a picture of a category shows
GREY = 225


def views_around(
    model: ObjectModel, size: int, count: int = 8, elevation: float = 0.4
) -> list[ObjectView]:
    """Return views of an object from ``count`` sides at one height (radians), from the front on."""
    camera = square_camera(size)
    turns = np.arange(count) * 2 * np.pi / count + np.pi / count
    poses = poses_at(model, camera, turns, np.full(count, elevation))
    return render_views(lit(model), camera, poses)


def category_view(prior: ObjectPrior, size: int, elevation: float = 0.4) -> ObjectView:
    """Return an empty view from the front right in which all of a category's space is seen."""
    camera = square_camera(size)
    away = SPACE * prior.frame.unit_m / np.sin(np.arctan(0.5 * size / camera.fx))
    level = np.cos(elevation) * np.sqrt(0.5)
    middle = prior.frame.to_object(np.zeros(3))
    eye = middle + away * np.array([level, -level, np.sin(elevation)])
    blank = np.full((size, size, 3), 255, np.uint8)
    return ObjectView(blank, camera, np.asarray(look_at(eye, middle), np.float64))


def one_view_picture(
    prior: ObjectPrior, code: Tensor, given: ObjectView, truth: Sequence[ObjectView]
) -> NDArray[np.uint8]:
    """Return a picture: the given view, and below it predicted and true views, each with labels.

    Rows: predicted colour, true colour, predicted labels, true labels; the given view is on the
    left of all.
    """
    guesses = predicted_views(prior, code, truth)
    rows = [
        [_color(guess) for guess in guesses],
        [view.color for view in truth],
        [_painted(guess.parts) for guess in guesses],
        [_painted(view.parts) for view in truth],
    ]
    size = truth[0].color.shape[0]
    shown = np.asarray(cv2.resize(given.color, (size, size), interpolation=cv2.INTER_AREA))
    blank = np.full_like(shown, 255)
    firsts = [shown, blank, _painted(given.parts) if given.parts is not None else blank, blank]
    firsts[2] = np.asarray(cv2.resize(firsts[2], (size, size), interpolation=cv2.INTER_NEAREST))
    return grid([[first, *row] for first, row in zip(firsts, rows)])


def interpolation_picture(
    prior: ObjectPrior, first: Tensor, second: Tensor, camera: ObjectView, count: int = 8
) -> NDArray[np.uint8]:
    """Return a picture of ``count`` codes on the line from one to another: colours, and labels."""
    shares = torch.linspace(0, 1, count)
    guesses = [
        predicted_views(prior, first + share * (second - first), [camera])[0] for share in shares
    ]
    return grid(
        [[_color(guess) for guess in guesses], [_painted(guess.parts) for guess in guesses]]
    )


def grid(rows: Sequence[Sequence[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Return images (H, W, 3) of one size in rows, with grey lines between them."""
    height, width = rows[0][0].shape[:2]
    across, down = max(len(row) for row in rows), len(rows)
    canvas = np.full(
        (down * (height + RIM_PX) + RIM_PX, across * (width + RIM_PX) + RIM_PX, 3), GREY, np.uint8
    )
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            y, x = RIM_PX + i * (height + RIM_PX), RIM_PX + j * (width + RIM_PX)
            canvas[y : y + height, x : x + width] = image
    return canvas


def _color(guess: PredictedView) -> NDArray[np.uint8]:
    assert guess.color is not None
    return guess.color


def _painted(parts: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    assert parts is not None
    return PALETTE[parts % len(PALETTE)]
