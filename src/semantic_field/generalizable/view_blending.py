"""Rules of blending source views at samples: who may be believed, and which sample speaks."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from semantic_field.generalizable.gathering import Gathered
from semantic_field.generalizable.guided_samples import GuidedSamples


def believable(gathered: Gathered, hidden_m: float) -> Bool[Tensor, "h w S V"]:
    """Return which views a sample's appearance may be taken from.

    Those in whose image it is, and whose own depth does not show a nearer surface: one that is
    more than ``hidden_m`` before the sample. Where all are hidden, all in whose image it is;
    where it is in none, all (their values are 0).
    """
    inside = gathered.inside
    visible = inside & (gathered.gap > -hidden_m)
    visible = torch.where(visible.any(-1, keepdim=True), visible, inside)
    return visible | ~inside.any(-1, keepdim=True)


def weights_of_densities(density: Float[Tensor, "... S"]) -> Float[Tensor, "... S"]:
    """Return the weights of samples by alpha compositing, alpha = 1 - exp(-density).

    The distance between samples does not count, as in GeoNeRF and GSNeRF.
    """
    alpha = 1 - torch.exp(-density)
    passed = torch.exp(-(density.cumsum(-1) - density))
    return alpha * passed


def semantic_sample(
    samples: GuidedSamples, weights: Float[Tensor, "h w S"]
) -> Int[Tensor, "h w 1"]:
    """Return the number of the sample at which the meaning of a ray is read.

    It is that at the target depth; where this is unknown, the one with the largest weight.
    """
    heaviest = weights.detach().argmax(-1, keepdim=True)
    exact = samples.exact.int().argmax(-1, keepdim=True)
    return torch.where(samples.known[..., None], exact, heaviest)


def at_sample(values: Tensor, number: Int[Tensor, "h w 1"]) -> Tensor:
    """Return values (h, w, S, ...) at one sample of each ray, (h, w, ...)."""
    index = number.view(*number.shape, *[1] * (values.dim() - 3))
    return values.take_along_dim(index.expand(-1, -1, 1, *values.shape[3:]), dim=2)[:, :, 0]


def label_agreement(
    labels: Int[Tensor, "... V"], counts: Bool[Tensor, "... V"]
) -> Float[Tensor, "... V"]:
    """Return the share of the other counting views that have a label, whose label is the same.

    0 for a view without a label, and where no other has one. It is the only thing about labels
    that is learnt from, so that any list of classes can be carried.
    """
    has = counts & (labels >= 0)
    same = (labels[..., :, None] == labels[..., None, :]) & has[..., :, None] & has[..., None, :]
    others = (has.sum(-1, keepdim=True) - 1).clamp(min=1)
    return (same.sum(-1) - has.int()) / others * has
