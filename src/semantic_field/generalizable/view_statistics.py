"""What is known of each sample in each source view, as numbers that say nothing of the vocabulary.

The models learn from these whom to believe: how the view looks at the sample, whether its depth
agrees, how its colour differs from the other views', and how many call the sample the same.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from semantic_field.generalizable.gathering import Gathered, tolerance_of
from semantic_field.generalizable.source_images import SourceImages

UNREAD = 0.3  # weight of a view without a reading beside one with a reading that agrees
COLOR_SHARPNESS = 3000.0  # weight falls with the angle: half at cosine 1 - 1 / COLOR_SHARPNESS
LABEL_SHARPNESS = 5.0  # the same for labels, which do not depend on the direction
FINE_M, FINE_SHARE = 0.004, 0.004  # accuracy of depth that is exact but for its resolution
FINEST_TURN = 1e4  # 1 - cosine of the smallest angle that matters, inverse
BORDER_PX = 16.0
FAINTEST = 1e-4  # added to hand-set weights before their logarithm
GEOMETRY, MEANING = 8, 4  # numbers that the functions below return


class HandWeights(NamedTuple):
    """What hand-set rules say of each view at each sample: by depth, angle and resolution.

    Attributes:
        colors, labels: float32 (h, w, S, V) in 0..1, 0 where not inside.
    """

    colors: Float[Tensor, "h w S V"]
    labels: Float[Tensor, "h w S V"]


def hand_weights(gathered: Gathered, trust: Float[Tensor, "V"] | None = None) -> HandWeights:
    """Return weights by hand-set rules, with which the learnt ones start.

    Args:
        trust: of the views, see ``SourceImages``.
    """
    off = gathered.gap / tolerance_of(gathered.far)
    seen = torch.where(gathered.reading > 0, torch.exp(-2 * off.square()), UNREAD)
    seen = gathered.inside * seen * gathered.detail.clamp(max=1).square()
    seen = seen if trust is None else seen * trust
    turned = (1 - gathered.turn[..., 3]).clamp(min=0)
    return HandWeights(seen / (1 + COLOR_SHARPNESS * turned), seen / (1 + LABEL_SHARPNESS * turned))


def geometry_statistics(
    gathered: Gathered, sources: SourceImages
) -> Float[Tensor, "h w S V {GEOMETRY}"]:
    """Return how each view looks at each sample, numbers of about -2 to 2."""
    H, W = sources.size
    read = (gathered.reading > 0).float()
    off = gathered.gap / tolerance_of(gathered.far)
    fine = gathered.gap / (FINE_M + FINE_SHARE * gathered.far)
    u, v = gathered.pixels[..., 0], gathered.pixels[..., 1]
    border = torch.minimum(torch.minimum(u, v), torch.minimum(W - 1 - u, H - 1 - v))
    return torch.stack(
        [
            off.clamp(-2, 2),
            fine.clamp(-2, 2),
            read,
            read * torch.exp(-off.square()),
            (FINEST_TURN * (1 - gathered.turn[..., 3]).clamp(min=0)).log1p() / 5,
            gathered.detail.clamp(0.125, 8).log2() / 2,
            (border / BORDER_PX).clamp(0, 1),
            gathered.far / 5,
        ],
        -1,
    )


def meaning_statistics(
    labels: Int[Tensor, "h w S V"],
    weights: Float[Tensor, "h w S V"],
    agreement: Float[Tensor, "h w S V 2"],
) -> Float[Tensor, "h w S V {MEANING}"]:
    """Return how far the others call a sample what each view calls it.

    Args:
        weights: of the views' labels, see ``hand_weights``.
        agreement: of the others with the view's segment there, see ``segment_agreement``.
    Returns:
        Whether the view has a label; the weighted share of the other views at the sample that
        have the same, .5 where there are none; and the agreement.
    """
    given, share = label_agreement(labels, weights, dim=-1)
    return torch.cat([given[..., None], share[..., None], agreement], -1)


def label_agreement(
    labels: Int[Tensor, "..."], weights: Float[Tensor, "..."], dim: int
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """Return for each view whether it has a label, and which share of the others' is the same.

    Args:
        labels: rows of any list of classes, -1 = no label.
        weights: what each view's label weighs for the others.
        dim: the dimension of the views.
    Returns:
        The share is .5 where no other view has a label, and 0 for a view without one.
    """
    given = (labels >= 0).float()
    weights = weights * given
    pairs = zip(weights.split(1, dim), labels.split(1, dim), strict=True)
    same = sum(weight * (labels == label) for weight, label in pairs) - weights
    others = weights.sum(dim, keepdim=True) - weights
    return given, given * (same + 0.005) / (others + 0.01)


def weighted_mean(
    values: Float[Tensor, "h w S V C"], weights: Float[Tensor, "h w S V"]
) -> Float[Tensor, "h w S 1 C"]:
    """Return the mean over the views, 0 where all weights are 0."""
    total = weights.sum(-1).clamp(min=1e-6)
    return (torch.einsum("hwsv,hwsvc->hwsc", weights, values) / total[..., None])[..., None, :]
