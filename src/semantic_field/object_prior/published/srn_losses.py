"""The losses of Semantic SRN: colour, code and depth, and class where it is fully supervised."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from semantic_field.object_prior.training.image_batches import ImageBatch
from semantic_field.settings import Settings, option


@dataclass(frozen=True)
class SRNLossWeights(Settings):
    """Weights of the terms; the defaults are the published ones."""

    color: float = option(200.0, "of the mean squared error of channels in -1..1", 0.0)
    code: float = option(1.0, "of the codes' mean square", 0.0)
    depth: float = option(10.0, "of the mean square of depths behind the camera (1e-3 * 1e4)", 0.0)
    label: float = option(8.0, "of the cross-entropy of labels, fully supervised only", 0.0)


def target_channels(batch: ImageBatch) -> Float[Tensor, "B R 4"]:
    """Return colour and mask in -1..1; without masks the fourth channel is 1, as released."""
    masks = torch.ones_like(batch.colors[..., 0]) if batch.masks is None else batch.masks
    return 2 * torch.cat([batch.colors, masks[..., None]], -1) - 1


def color_loss(channels: Float[Tensor, "B R 4"], target: Float[Tensor, "B R 4"]) -> Tensor:
    """Return the mean squared error of the channels."""
    return functional.mse_loss(channels, target)


def depth_loss(depths: Float[Tensor, "B R"]) -> Tensor:
    """Return the mean square of depths along z that are behind the camera (canonical units)."""
    return depths.clamp_max(0).square().mean()


def label_loss(logits: Float[Tensor, "B R C"], parts: Int[Tensor, "B R"]) -> Tensor:
    """Return the mean cross-entropy over all pixels, background included."""
    return functional.cross_entropy(logits.flatten(0, 1), parts.flatten())
