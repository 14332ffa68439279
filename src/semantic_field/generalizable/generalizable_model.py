"""What every generalizable model can do: features of frames once, views from them many times."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from semantic_field.generalizable.source_images import SourceImages, TargetRays
from semantic_field.generalizable.sweep_reasoner import SweepReasoner


@dataclass(frozen=True)
class Prediction:
    """What a model predicts for an image of h x w rays.

    Attributes:
        color: float32 (h, w, 3), RGB in 0..1.
        depth: float32 (h, w), z-depth in the target, metres; 0 = nothing is known there.
        confidence: float32 (h, w) in 0..1, calibrated: the probability that the class with the
            most votes is right; 0 where no source sees the ray.
        scores: float32 (h, w, C), probabilities of the classes, sum at most 1: carried from the
            sources' labels, or of the closed set; None = no classes.
        latent: float32 (h, w, D), carried; None = none.
        extra: what only the losses of the model's own training need, by name; mostly tensors.
    """

    color: Float[Tensor, "h w 3"]
    depth: Float[Tensor, "h w"]
    confidence: Float[Tensor, "h w"]
    scores: Float[Tensor, "h w C"] | None = None
    latent: Float[Tensor, "h w D"] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def rows(self, kept: slice) -> Prediction:
        """Return some rows of the image, without ``extra``."""
        parts = {name: part[kept] for name, part in vars(self).items() if torch.is_tensor(part)}
        return replace(self, **parts, extra={})


@dataclass(frozen=True)
class Truth:
    """What an image of h x w target rays really shows.

    Attributes:
        color: float32 (h, w, 3), RGB in 0..1.
        depth: float32 (h, w), z-depth, metres, 0 = unknown.
        labels: int64 (h, w), class rows, -1 = unknown.
        source_labels: int64 (V, H, W), right class rows of the sources' pixels, -1 = unknown.
        source_depths: float32 (V, H, W), right depths of the sources' pixels, 0 = unknown.
        instances: int64 (h, w), ids of objects, -1 = unknown; None = not known.
    """

    color: Float[Tensor, "h w 3"]
    depth: Float[Tensor, "h w"]
    labels: Tensor
    source_labels: Tensor | None = None
    source_depths: Tensor | None = None
    instances: Tensor | None = None


class GeneralizableModel(nn.Module):
    """Base of the models. Subclasses: ``GSNeRF``, ``GPNeRF``.

    Attributes:
        class_names: names of the closed set in the order of the scores; () = meaning is carried
            (the classes are those of the sources' labels).
    """

    class_names: tuple[str, ...] = ()

    @property
    def sweep(self) -> SweepReasoner | None:
        """What finds the depth of frames from colours, once for each; None = there is none."""
        return None

    def extract(self, colors: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        """Return the features of frames, each tensor with B as its first dimension."""
        raise NotImplementedError

    def source_depths(self, sources: SourceImages) -> Float[Tensor, "V H W"]:
        """Return the depth of each source: readings, and in their holes what the model finds.

        Raises:
            ValueError: if the sources have no depth and the model has no way to find it.
        """
        raise NotImplementedError

    def forward(self, sources: SourceImages, rays: TargetRays) -> Prediction:
        """Predict an image of rays from sources with ``features``."""
        raise NotImplementedError

    def losses(
        self, prediction: Prediction, truth: Truth, sources: SourceImages
    ) -> dict[str, Tensor]:
        """Return the weighted terms of the training loss by name; their sum is the loss."""
        raise NotImplementedError


def set_options(model: nn.Module, **values: Any) -> bool:
    """Change options in the configurations of all parts of a model that have them.

    Returns:
        Whether any part has them.
    """
    found = False
    for part in model.modules():
        config: Any = getattr(part, "config", None)
        if config is not None and all(hasattr(config, name) for name in values):
            part.config, found = replace(config, **values), True
    return found
