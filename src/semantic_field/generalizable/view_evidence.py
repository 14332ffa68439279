"""What speaks for a source view at a sample, beside its features: depth, detail, colour, labels.

Of labels only whether they agree is told, never which they are, so the evidence means the same for
every list of classes. Nothing here is learnt, and no gradient passes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

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


def _least_and_most(images: Float[Tensor, "V H W"]) -> tuple[Tensor, Tensor]:
    most = F.max_pool2d(images[:, None], 5, 1, 2)[:, 0]
    least = -F.max_pool2d(-images[:, None], 5, 1, 2)[:, 0]
    return least, most


@torch.no_grad()
def view_evidence(
    gathered: Gathered, labels: Int[Tensor, "h w S V"] | None, edges: Borders
) -> Float[Tensor, "h w S V E"]:
    """Return ``NUMBERS`` numbers in about -1..1 for each sample and view; all 0 where not inside.

    In order: a depth was read; gap / 3 cm and / 30 cm (squashed); detail in octaves / 3; difference
    of the colour to the mean of the views that seem to see the sample; how surely this view does;
    a label is there; share of the other views' labels that agree, and how many there are; near an
    edge of depth; near an edge of labels.
    """
    gap, inside = gathered.gap, gathered.inside.float()
    read = (gathered.reading > 0).float()
    sees = inside * torch.where(read > 0, torch.sigmoid((gap + HIDDEN_M) / SHARP_M), 0.5)
    mean = torch.einsum("hwsv,hwsvc->hwsc", sees, gathered.colors)
    mean = mean / sees.sum(-1, keepdim=True).clamp_min(1e-4)
    nothing = torch.zeros_like(gap)
    numbers = [
        read,
        torch.tanh(gap / 0.03),
        torch.tanh(gap / 0.3),
        gathered.detail.clamp(0.125, 8.0).log2() / 3.0,
        (gathered.colors - mean[..., None, :]).abs().mean(-1),
        sees,
        *(agreement(labels, sees) if labels is not None else (nothing, nothing, nothing)),
        *(nothing if e is None else at_pixels(e, gathered.pixels, gathered.inside) for e in edges),
    ]
    return torch.stack(numbers, -1) * inside[..., None]


def agreement(
    labels: Int[Tensor, "h w S V"], sees: Float[Tensor, "h w S V"]
) -> tuple[Float[Tensor, "h w S V"], Float[Tensor, "h w S V"], Float[Tensor, "h w S V"]]:
    """Return for each view: whether it has a label, which share of the others agrees, their number.

    Args:
        labels: rows of any list of classes, -1 = none.
        sees: how surely each view sees the sample, 0..1: what its label weighs for the others.

    Returns:
        The share is 0 where no other view has a label; the number is divided by V.
    """
    has = (labels >= 0).float()
    same, others = torch.zeros_like(sees), torch.zeros_like(sees)
    weight = sees * has
    for view in range(labels.shape[-1]):
        same += weight[..., view, None] * (labels == labels[..., view, None])
        others += weight[..., view, None]
    same, others = (same - weight) * has, others - weight
    return has, same / others.clamp_min(1e-4), others / labels.shape[-1]
