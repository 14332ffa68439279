"""What speaks for each view at a sample, views first and samples last, as the transformers want it.

The numbers of ``view_statistics`` and what else the carried branch of GSNeRF learns from: geometry,
how the colour differs from the others', how many call the sample the same. Of labels only whether
they agree is told, never which they are, so it means the same for every list of classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from semantic_field.generalizable.gathering import Gathered, at_pixels
from semantic_field.generalizable.label_segments import known_agreement
from semantic_field.generalizable.source_images import SourceImages
from semantic_field.generalizable.view_statistics import (
    FAINTEST,
    GEOMETRY,
    geometry_statistics,
    hand_weights,
    label_agreement,
)

NUMBERS = GEOMETRY + 5


class ViewEvidence(NamedTuple):
    """Evidence on P samples in V views.

    Attributes:
        numbers: float32 (V, E, P), of about -2 to 2; 0 where not inside.
        prior: float32 (V, 2, P), logarithms of hand-set weights, of colours and of labels.
        surface: float32 (P,), logarithm of how far the views that have the sample agree that a
            surface is there.
    """

    numbers: Float[Tensor, "V E P"]
    prior: Float[Tensor, "V 2 P"]
    surface: Float[Tensor, "P"]


def by_view(values: Float[Tensor, "h w S V *C"]) -> Float[Tensor, "V *C P"]:
    """Return values of P = h x w x S samples in views with the views first, the samples last."""
    order = (3, *range(4, values.dim()), 0, 1, 2)
    return values.permute(order).flatten(-3)


@torch.no_grad()
def agreement_of_segments(sources: SourceImages) -> Float[Tensor, "2 V H W"] | None:
    """Return ``known_agreement``, its two numbers as images of their own."""
    found = known_agreement(sources)
    return None if found is None else found.transpose(0, 1).contiguous()


@torch.no_grad()
def view_evidence(
    sources: SourceImages,
    gathered: Gathered,
    labels: Int[Tensor, "h w S V"] | None,
    segments: Float[Tensor, "2 V H W"] | None,
) -> ViewEvidence:
    """Return the evidence; nothing in it is learnt, and no gradient passes.

    The numbers are those of ``geometry_statistics``; how far the colour is from the mean of the
    views by their hand-set weights; whether there is a label; the share of the others' labels that
    agree; and the agreement with the segment that the label is of, and the logarithm of how many
    were asked.

    Args:
        segments: see ``agreement_of_segments``.
    """
    by_hand = hand_weights(gathered)
    inside, colors = by_view(gathered.inside), by_view(gathered.colors)
    believed = by_view(by_hand.colors)
    mean = (believed[:, None] * colors).sum(0) / believed.sum(0).clamp_min(1e-6)
    numbers = [4.0 * (colors - mean).abs().mean(1)]
    trusted = by_view(by_hand.labels)
    if labels is None:
        numbers += [torch.zeros_like(trusted)] * 2
    else:
        numbers += label_agreement(by_view(labels), trusted, dim=0)
    if segments is None:
        numbers += [torch.full_like(trusted, 0.5), torch.zeros_like(trusted)]
    else:
        parts = (at_pixels(image, gathered.pixels, gathered.inside) for image in segments)
        numbers += map(by_view, parts)
    geometry = by_view(geometry_statistics(gathered, sources))
    all_numbers = torch.cat([geometry, torch.stack(numbers, 1)], 1)
    return ViewEvidence(
        numbers=all_numbers * inside[:, None],
        prior=(torch.stack([believed, trusted], 1) + FAINTEST).log(),
        surface=(trusted.sum(0) / inside.sum(0).clamp_min(1) + FAINTEST).log(),
    )
