"""Batches of views of training instances, as tensors, made from the number of a step alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from semantic_field.data.objects.object_views import CategoryFrame, ObjectView
from semantic_field.data.objects.srn_layout import resized
from semantic_field.generalizable.training.episode_feed import episode_random
from semantic_field.object_prior.prior_model import CanonicalRays, canonical_rays
from semantic_field.object_prior.trainable_prior import TrainingObjects


@dataclass(frozen=True)
class ImageBatch:
    """B views of one size with R pixels, row by row.

    Attributes:
        instances: rows of the codes.
        rays: of all pixels, canonical coordinates.
        colors: 0..1.
        masks: 1 on the object; None if a view has no mask.
        parts: classes, 0 = background; None if a view is not labelled.
    """

    instances: Int[Tensor, "B"]
    rays: CanonicalRays
    colors: Float[Tensor, "B R 3"]
    masks: Float[Tensor, "B R"] | None
    parts: Int[Tensor, "B R"] | None


@dataclass(frozen=True)
class Stage:
    """A part of a training with one size of images.

    Attributes:
        side: width and height, pixels.
        batch: views a step.
        steps: of the stage.
    """

    side: int
    batch: int
    steps: int

    def __post_init__(self) -> None:
        if min(self.side, self.batch, self.steps) < 1:
            raise ValueError(f"expected side, batch and steps of a stage from 1 on, got {self}")


class ImageBatches:
    """Views drawn from all training views, each with the same chance.

    Args:
        stages: one after the other; the last one goes on for as long as is asked.
        seed: of the drawing.
    """

    def __init__(self, data: TrainingObjects, stages: tuple[Stage, ...], seed: int) -> None:
        if not stages:
            raise ValueError("expected at least one stage, such as {side: 64, batch: 4, steps: 1}")
        self._data, self._stages, self._seed = data, stages, seed
        self._counts = np.array([data.view_count(i) for i in range(len(data.objects.names))])

    def __call__(self, step: int) -> ImageBatch:
        """Return the batch of a step."""
        stage = self.stage(step)
        random = episode_random(self._seed, step, 0)
        ends = np.cumsum(self._counts)
        drawn = random.integers(ends[-1], size=stage.batch)
        instances = np.searchsorted(ends, drawn, side="right")
        numbers = drawn - (ends - self._counts)[instances]
        views = [
            self._data.objects.view(int(i), int(n)) for i, n in zip(instances, numbers, strict=True)
        ]
        return image_batch(instances.tolist(), views, stage.side, self._data.objects.frame)

    def stage(self, step: int) -> Stage:
        """Return the stage that a step is in."""
        for stage in self._stages[:-1]:
            if step < stage.steps:
                return stage
            step -= stage.steps
        return self._stages[-1]


def image_batch(
    instances: list[int], views: list[ObjectView], side: int, frame: CategoryFrame
) -> ImageBatch:
    """Return views as a batch, resized to ``side`` x ``side`` pixels.

    Raises:
        ValueError: if a view is not square.
    """
    small = [view if view.camera.width == side else resized(view, side) for view in views]
    colors = np.stack([view.color.reshape(-1, 3) for view in small])
    masks = [view.mask for view in small if view.mask is not None]
    parts = [view.parts for view in small if view.parts is not None]
    count = len(views)
    return ImageBatch(
        instances=torch.tensor(instances),
        rays=canonical_rays(small, frame),
        colors=torch.from_numpy(colors).float() / 255,
        masks=_flat(masks).float() if len(masks) == count else None,
        parts=_flat(parts).long() if len(parts) == count else None,
    )


def _flat(images: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(images).reshape(len(images), -1))
