"""What the field is trained for: losses of samples, of composited depths, and of the heads.

Distances are in units of the truncation. Losses of samples are means over rays of the mean over
the ray's samples, so their weights do not depend on how many samples a ray has.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


def near_loss(
    s: Float[Tensor, " N"],
    z: Float[Tensor, "R S"],
    depth: Float[Tensor, " R"],
    stretch: Float[Tensor, " R"],
    trust: Float[Tensor, " R"],
    truncation_m: float,
) -> Float[Tensor, ""]:
    """Mean squared error of the signed distances near the surface.

    Args:
        s: signed distances in truncations, ray by ray (N = R * S).
        z: z-depths of the samples, metres.
        depth, stretch: z-depth of the rays' surfaces, and their length per metre of it. The
            target is the distance along the ray to the surface, between -1 and 1 truncations.
        trust: weights of the rays; 0 leaves a ray out.
    """
    target = ((depth[:, None] - z) * (stretch / truncation_m)[:, None]).clamp(-1.0, 1.0)
    return (trust * (s.view_as(z) - target).square().mean(1)).mean()


def free_space_loss(s: Float[Tensor, " M"], trust: Float[Tensor, " R"]) -> Float[Tensor, ""]:
    """Mean square of what signed distances in free space lack to 1 (M = R * samples of a ray)."""
    missing = (s.view(len(trust), -1) - 1.0).clamp_max(0.0)
    return (trust * missing.square().mean(1)).mean()


def depth_loss(
    rendered: Float[Tensor, " R"],
    depth: Float[Tensor, " R"],
    stretch: Float[Tensor, " R"],
    trust: Float[Tensor, " R"],
    truncation_m: float,
) -> Float[Tensor, ""]:
    """Smooth L1 of the rendered z-depth against the reading, in truncations along the ray."""
    scale = stretch / truncation_m
    error = functional.smooth_l1_loss(rendered * scale, depth * scale, reduction="none")
    return (trust * error).mean()


def color_loss(
    color: Float[Tensor, "R 3"],
    target: Float[Tensor, "R 3"],
    weight: Float[Tensor, " R"] | None = None,
) -> Float[Tensor, ""]:
    """Mean squared error of the colour in 0..1, each ray with its weight (1 where none is
    given); rays of weight 0 count as zero."""
    each = functional.mse_loss(color, target, reduction="none").mean(1)
    return _weighted(each, weight).sum() / max(len(color), 1)


def label_loss(
    scores: Float[Tensor, "R C"],
    label: Int[Tensor, " R"],
    weight: Float[Tensor, " R"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy of the class rows, each ray with its weight (1 where none is given); rays
    with label -1 (void) count as zero."""
    if scores.shape[1] == 0:
        return scores.sum()
    each = functional.cross_entropy(scores, label, ignore_index=-1, reduction="none")
    return _weighted(each, weight).sum() / max(len(label), 1)


def language_loss(
    latent: Float[Tensor, "R D"],
    label: Int[Tensor, " R"],
    class_latents: Float[Tensor, "C D"],
    rank: int,
    weight: Float[Tensor, " R"] | None = None,
) -> Float[Tensor, ""]:
    """Half the squared distance of the latent's language part to its class name's embedding.

    ``class_latents`` are V'(e - mean): D numbers stand for E. Void rays count as zero, others
    have their weight, 1 where none is given. For unit vectors half the squared distance is
    1 - cosine.
    """
    if rank == 0 or not len(class_latents):
        return latent.sum() * 0.0
    known = _weighted((label >= 0).to(latent.dtype), weight)
    target = class_latents[label.clamp_min(0), :rank]
    error = (latent[:, :rank] - target).square().sum(-1)
    return 0.5 * (error * known).sum() / max(len(label), 1)


def _weighted(each: Float[Tensor, " R"], weight: Float[Tensor, " R"] | None) -> Float[Tensor, " R"]:
    return each if weight is None else each * weight
