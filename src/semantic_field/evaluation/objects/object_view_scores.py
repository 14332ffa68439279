"""Scores of predicted views of objects: mIoU of the published rule, and PSNR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.objects.object_views import ObjectView
from semantic_field.evaluation.scores.confusion import ConfusionMatrix
from semantic_field.evaluation.scores.conventions import convention
from semantic_field.evaluation.scores.image_quality import psnr

RULE = convention("semantic_srn").rule


@dataclass(frozen=True)
class PredictedView:
    """What is predicted for a camera.

    Attributes:
        color: (H, W, 3) uint8 sRGB; None = nothing.
        parts: (H, W) uint8, 0 = background, i + 1 = the i-th part; None = nothing.
    """

    color: NDArray[np.uint8] | None = None
    parts: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class ObjectViewScore:
    """Means over images.

    Attributes:
        miou: of an image over the classes in truth or prediction, background included; NaN
            without labels.
        psnr: dB over the whole image, background included; NaN without colours.
        images: number of images.
    """

    miou: float
    psnr: float
    images: int


def score_views(
    part_names: Sequence[str],
    truth: Sequence[ObjectView],
    predicted: Sequence[PredictedView],
) -> ObjectViewScore:
    """Return the mean scores of predicted views against the true ones, in the same order.

    Raises:
        ValueError: if the numbers of views differ.
    """
    if len(truth) != len(predicted):
        raise ValueError(f"expected {len(truth)} predicted views, got {len(predicted)}")
    matrix = ConfusionMatrix(("background", *part_names), RULE)
    labelled, qualities = 0, []
    for view, guess in zip(truth, predicted):
        if view.parts is not None and guess.parts is not None:
            matrix.add(view.parts.ravel().astype(np.int64), guess.parts.ravel().astype(np.int64))
            labelled += 1
        if guess.color is not None:
            qualities.append(psnr(view.color, guess.color))
    miou = matrix.result().miou if labelled else float("nan")
    return ObjectViewScore(
        miou, float(np.mean(qualities)) if qualities else float("nan"), len(truth)
    )
