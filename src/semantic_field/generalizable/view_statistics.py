"""What is known of each sample in each source view, as numbers that say nothing of the vocabulary.

The models learn from these whom to believe: how the view looks at the sample, whether its depth
agrees, how its colour differs from the other views', and how many call the sample the same.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from semantic_field.generalizable.gathering import Gathered
from semantic_field.generalizable.source_images import SourceImages

SAME_M, SAME_SHARE = 0.02, 0.03  # depths that differ by less are of one surface
UNREAD = 0.3  # weight of a view without a reading beside one with a reading that agrees
SHARPNESS = 200.0  # weight of colours falls with the angle: half at cosine 1 - 1 / SHARPNESS
BORDER_PX = 16.0
GEOMETRY, MEANING = 7, 4  # numbers that the functions below return


def hand_weights(gathered: Gathered) -> Float[Tensor, "h w S V"]:
    """Return what hand-set rules say of each view: by depth, angle and resolution; in 0..1."""
    off = gathered.gap / (SAME_M + SAME_SHARE * gathered.far)
    seen = torch.where(gathered.reading > 0, torch.exp(-2 * off.square()), UNREAD)
    angle = 1 / (1 + SHARPNESS * (1 - gathered.turn[..., 3]).clamp(min=0))
    return gathered.inside * seen * angle * gathered.detail.clamp(max=1).square()


def geometry_statistics(
    gathered: Gathered, sources: SourceImages
) -> Float[Tensor, "h w S V {GEOMETRY}"]:
    """Return how each view looks at each sample, numbers of about -2 to 2."""
    H, W = sources.size
    read = (gathered.reading > 0).float()
    off = gathered.gap / (SAME_M + SAME_SHARE * gathered.far).clamp(min=SAME_M)
    u, v = gathered.pixels[..., 0], gathered.pixels[..., 1]
    border = torch.minimum(torch.minimum(u, v), torch.minimum(W - 1 - u, H - 1 - v))
    return torch.stack(
        [
            off.clamp(-2, 2),
            read,
            read * torch.exp(-off.square()),
            (1 - gathered.turn[..., 3]).clamp(min=0).sqrt(),
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
        weights: of the views, see ``hand_weights``.
        agreement: of the others with the view's segment there, see ``segment_agreement``.
    Returns:
        Whether the view has a label; the weighted share of the other views at the sample that
        have the same, .5 where there are none; and the agreement.
    """
    given = labels >= 0
    weights = weights * given
    same = (labels[..., :, None] == labels[..., None, :]) & ~torch.eye(
        labels.shape[-1], dtype=torch.bool, device=labels.device
    )
    others = weights.sum(-1, keepdim=True) - weights
    agreeing = (same * weights[..., None, :]).sum(-1)
    share = (agreeing + 0.005) / (others + 0.01)
    share = torch.where(given, share, 0.0)
    return torch.cat([given[..., None].float(), share[..., None], agreement], -1)


def weighted_mean(
    values: Float[Tensor, "h w S V C"], weights: Float[Tensor, "h w S V"]
) -> Float[Tensor, "h w S 1 C"]:
    """Return the mean over the views, 0 where all weights are 0."""
    total = weights.sum(-1).clamp(min=1e-6)
    return (torch.einsum("hwsv,hwsvc->hwsc", weights, values) / total[..., None])[..., None, :]
