"""What speaks for a source view at a sample, beside its features: depth, detail, colour, labels.

Of labels only whether they agree is told, never which they are, so the evidence means the same for
every list of classes. Nothing here is learnt, and no gradient passes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from semantic_field.generalizable.gathering import Gathered, at_pixels
from semantic_field.generalizable.source_images import SourceImages

NUMBERS = 11
HIDDEN_M, SHARP_M = 0.04, 0.015  # a source sees a sample up to here behind its reading; how surely
JUMP = 0.05  # relative difference of depth within 5 x 5 pixels that makes them an edge


class Borders(NamedTuple):
    """Pixels of the sources near an edge, float32 (V, H, W) of 0 and 1; None = no such images."""

    depth: Float[Tensor, "V H W"] | None
    label: Float[Tensor, "V H W"] | None


def borders(sources: SourceImages) -> Borders:
    """Return which pixels have an edge of depth or of labels within 2 pixels."""
    depth = label = None
    if sources.depths is not None:
        least, most = _least_and_most(sources.depths)
        depth = (most > (1.0 + JUMP) * least).float()
    if sources.labels is not None:
        least, most = _least_and_most(sources.labels.float())
        label = (most > least).float()
    return Borders(depth, label)


def by_view(values: Float[Tensor, "h w S V *C"]) -> Float[Tensor, "V *C P"]:
    """Return values of P = h x w x S samples in views with the views first, the samples last."""
    order = (3, *range(4, values.dim()), 0, 1, 2)
    return values.permute(order).flatten(-3)


def _least_and_most(images: Float[Tensor, "V H W"]) -> tuple[Tensor, Tensor]:
    both = torch.stack([images, -images], 1)
    both = F.max_pool2d(F.max_pool2d(both, (1, 5), 1, (0, 2)), (5, 1), 1, (2, 0))
    return -both[:, 1], both[:, 0]


@torch.no_grad()
def view_evidence(
    gathered: Gathered, labels: Int[Tensor, "h w S V"] | None, edges: Borders
) -> Float[Tensor, "V E P"]:
    """Return ``NUMBERS`` numbers in about -1..1 for each sample and view; all 0 where not inside.

    In order: a depth was read; gap / 3 cm and / 30 cm (squashed); detail in octaves / 3; difference
    of the colour to the mean of the views that seem to see the sample; how surely this view does;
    a label is there; share of the other views' labels that agree; n / (1 + n) of these labels; near an
    edge of depth; near an edge of labels.
    """
    inside, colors = by_view(gathered.inside).float(), by_view(gathered.colors)
    gap, read = by_view(gathered.gap), (by_view(gathered.reading) > 0).float()
    sees = torch.sigmoid((gap + HIDDEN_M) / SHARP_M)
    sees = inside * torch.lerp(torch.full_like(sees, 0.5), sees, read)
    mean = (sees[:, None] * colors).sum(0) / sees.sum(0).clamp_min(1e-4)
    nothing = torch.zeros_like(gap)
    has = share = others = nothing
    if labels is not None:
        has, share, others = agreement(by_view(labels), sees)
    numbers = [
        read,
        torch.tanh(gap / 0.03),
        torch.tanh(gap / 0.3),
        by_view(gathered.detail).clamp(0.125, 8.0).log2() / 3.0,
        (colors - mean).abs().mean(1),
        sees,
        has,
        share,
        others / (1.0 + others),
        *(nothing if e is None else _marks(e, gathered) for e in edges),
    ]
    return torch.stack(numbers, 1) * inside[:, None]


def _marks(image: Float[Tensor, "V H W"], gathered: Gathered) -> Float[Tensor, "V P"]:
    return by_view(at_pixels(image, gathered.pixels, gathered.inside))


def agreement(
    labels: Int[Tensor, "V P"], sees: Float[Tensor, "V P"]
) -> tuple[Float[Tensor, "V P"], Float[Tensor, "V P"], Float[Tensor, "V P"]]:
    """Return for each view: whether it has a label, which share of the others agrees, their number.

    Args:
        labels: rows of any list of classes, -1 = none.
        sees: how surely each view sees the sample, 0..1: what its label weighs for the others.

    Returns:
        The share is 0 where no other view has a label.
    """
    has = (labels >= 0).float()
    weight = sees * has
    same = sum(one * (labels == row) for one, row in zip(weight, labels)) - weight
    others = weight.sum(0) - weight
    return has, same * has / others.clamp_min(1e-4), others
