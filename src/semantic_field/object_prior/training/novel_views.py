"""Figures of a prior on views of its training instances that it is never trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from semantic_field.data.objects.object_views import ObjectView
from semantic_field.object_prior.label_layers import image_miou, rendered_view
from semantic_field.object_prior.prior_model import canonical_rays
from semantic_field.object_prior.trainable_prior import TrainablePrior, TrainingObjects

FLOOR = 1e-10  # of a mean squared error: 100 dB


@dataclass(frozen=True)
class HeldOutViews:
    """Views with the rows of their instances' codes."""

    instances: tuple[int, ...]
    views: tuple[ObjectView, ...]

    @classmethod
    def of(cls, data: TrainingObjects, instances: int, views: int) -> HeldOutViews:
        """Return the last ``views`` views of instances that are spread evenly.

        Raises:
            ValueError: if these views are trained on.
        """
        count = len(data.objects.names)
        rows = np.linspace(0, count - 1, min(instances, count)).round().astype(int)
        chosen = [(int(row), number) for row in rows for number in _last(data, int(row), views)]
        return cls(
            tuple(row for row, _ in chosen),
            tuple(data.objects.view(row, number) for row, number in chosen),
        )

    @torch.no_grad()
    def figures(self, prior: TrainablePrior, labelled: bool) -> dict[str, float]:
        """Return means over the views: ``psnr`` (dB), ``depth_m`` and, if ``labelled``, ``miou``.

        ``depth_m`` is the median error over pixels on the object, metres; it and ``miou``
        (``image_miou``) are left out where the truth is not known.
        """
        was_training = prior.training
        prior.eval()
        try:
            each = [_of_view(prior, *entry, labelled) for entry in self._each()]
        finally:
            prior.train(was_training)
        names = sorted({name for found in each for name in found})
        return {name: float(np.mean([f[name] for f in each if name in f])) for name in names}

    def _each(self) -> Iterator[tuple[int, ObjectView]]:
        return zip(self.instances, self.views, strict=True)


def _of_view(prior: TrainablePrior, row: int, view: ObjectView, labelled: bool) -> dict[str, float]:
    rays = canonical_rays([view], prior.frame)
    pixels = rendered_view(prior, prior.codes.weight[row], view)
    truth = torch.from_numpy(view.color.reshape(-1, 3)).float() / 255
    found = {"psnr": psnr(pixels.color[0].cpu(), truth)}
    if view.depth is not None and (view.depth > 0).any():
        depth = (pixels.distance.cpu() * rays.cosines)[0] * prior.frame.unit_m
        known = torch.from_numpy(view.depth.reshape(-1))
        found["depth_m"] = float((depth - known)[known > 0].abs().median())
    if labelled and view.parts is not None:
        parts = torch.from_numpy(view.parts.reshape(-1)).long()
        found["miou"] = image_miou(prior.label_logits(pixels)[0].argmax(-1).cpu(), parts)
    return found


def _last(data: TrainingObjects, row: int, views: int) -> range:
    count = data.objects.view_count(row)
    if count - views < data.view_count(row):
        raise ValueError(
            f"expected {views} held-out views behind the {data.view_count(row)} training views of "
            f"{data.objects.names[row]}, it has {count} views in all; set data.views to "
            f"{max(1, count - views)} (or data.held_out_views to 0)"
        )
    return range(count - views, count)


def psnr(color: Tensor, truth: Tensor) -> float:
    """Return the peak signal-to-noise ratio (dB) of colours in 0..1; at most 100."""
    error = float((color.clamp(0, 1) - truth).square().mean())
    return -10 * float(np.log10(max(error, FLOOR)))
