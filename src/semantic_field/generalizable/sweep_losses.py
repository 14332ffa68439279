"""What the plane sweep learns from: the true depth of the references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from semantic_field.generalizable.masked_mean import masked_mean
from semantic_field.generalizable.sweep_reasoner import COARSE, FINE, Found
from semantic_field.generalizable.sweep_volume import LogPlanes
from semantic_field.settings import Settings, option

NEAREST_M, FARTHEST_M = 0.1, 60.0  # true depths that are learnt
RIGHT = 0.03  # difference of logarithms, by which a depth is of the right surface
STEEPEST = 0.5  # error of a difference between neighbours, beyond which it does not grow
STRIDES = 1, 2, 4  # pixels between which differences are compared


@dataclass(frozen=True)
class SweepLossSettings(Settings):
    """Weights of the terms."""

    planes: float = option(0.3, "cross-entropy of the right plane at the coarse level", 0.0)
    finer_planes: float = option(0.2, "the same at the fine level, where it has the plane", 0.0)
    agreement: float = option(0.1, "cross-entropy of the right plane by features alone", 0.0)
    levels: float = option(1.0, "difference of logarithms of depth, both levels at half size", 0.0)
    depth: float = option(2.0, "difference of logarithms of depth at full size", 0.0)
    slope: float = option(1.0, "error of differences between neighbouring pixels", 0.0)
    confidence: float = option(0.1, "cross-entropy of the confidence", 0.0)


def sweep_losses(
    settings: SweepLossSettings, found: Sequence[Found], depths: Float[Tensor, "B H W"]
) -> dict[str, Tensor]:
    """Return the weighted terms of the loss by name, means over the references.

    Args:
        found: of B references. depths: their true z-depth, metres, 0 = unknown.
    """
    each = [_terms(one, depth) for one, depth in zip(found, depths, strict=True)]
    return {
        name: getattr(settings, name) * torch.stack([terms[name] for terms in each]).mean()
        for name in each[0]
    }


def _terms(found: Found, depth: Float[Tensor, "H W"]) -> dict[str, Tensor]:
    known = (depth > NEAREST_M) & (depth < FARTHEST_M)
    value = -depth.clamp(min=NEAREST_M).log()
    quarter, quarter_known = smaller(value, known, COARSE)
    half, half_known = smaller(value, known, FINE)
    coarse, finer = found.planes
    off = found.value - value
    right = ((found.fine.detach() - half).abs() < RIGHT).float()
    doubt = binary_cross_entropy_with_logits(found.sure, right, reduction="none")
    levels = (found.coarse - half).abs() + (found.fine - half).abs()
    return {
        "planes": plane_loss(found.scores[0], coarse, quarter, quarter_known),
        "finer_planes": plane_loss(found.scores[1], finer, half, half_known),
        "agreement": plane_loss(found.agreement, coarse, quarter, quarter_known),
        "levels": masked_mean(levels, half_known),
        "depth": masked_mean(off.abs(), known),
        "slope": slope_loss(off, known),
        "confidence": masked_mean(doubt, half_known),
    }


def smaller(
    value: Float[Tensor, "H W"], known: Bool[Tensor, "H W"], stride: int
) -> tuple[Float[Tensor, "h w"], Bool[Tensor, "h w"]]:
    """Return an image of the (lower) medians of blocks, and where most of a block is known."""
    H, W = value.shape

    def median(image: Tensor) -> Tensor:
        blocks = image.reshape(H // stride, stride, W // stride, stride)
        return blocks.permute(0, 2, 1, 3).flatten(2).median(-1).values

    return median(value), median(known.float()) > 0


def plane_loss(
    scores: Float[Tensor, "D h w"],
    planes: LogPlanes,
    value: Float[Tensor, "h w"],
    known: Bool[Tensor, "h w"],
) -> Tensor:
    """Return the cross-entropy of the two planes about the true value, where these have it."""
    number = planes.number_of(value)
    last = planes.count - 1
    within = known & (number >= 0) & (number <= last)
    below = number.floor().clamp(0, last - 1).long()
    share = (number - below).clamp(0, 1)
    likely = scores.log_softmax(0)
    near = likely.gather(0, torch.stack([below, below + 1]))
    return masked_mean(-(near[0] * (1 - share) + near[1] * share), within)


def slope_loss(off: Float[Tensor, "H W"], known: Bool[Tensor, "H W"]) -> Tensor:
    """Return how much errors differ between pixels beside each other: edges and slopes count."""
    total = off.new_zeros(())
    for stride in STRIDES:
        small, there = off[::stride, ::stride], known[::stride, ::stride]
        for a, b in (
            ((slice(1, None),), (slice(None, -1),)),
            ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
        ):
            step = (small[a] - small[b]).abs().clamp(max=STEEPEST)
            total = total + masked_mean(step, there[a] & there[b])
    return total
