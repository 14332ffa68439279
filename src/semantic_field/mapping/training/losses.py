"""Training losses of samples along rays, of composited depths, and of the heads.

Distances are in units of the truncation distance. Losses of samples are averaged over the samples
of each ray first and then over rays, so their weights do not depend on the samples per ray.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


def near_loss(
    s: Float[Tensor, " N"],
    z: Float[Tensor, "R S"],
    depth: Float[Tensor, " R"],
    stretch: Float[Tensor, " R"],
    trust: Float[Tensor, " R"],
    inside: Float[Tensor, " R"],
    truncation_m: float,
) -> Float[Tensor, ""]:
    """Return the mean squared error of signed distances near the surface.

    The target is the distance along the ray to the surface, clamped to -1..1 truncations, and not
    below ``-inside``.

    Args:
        s: signed distances in truncations, ray by ray (N = R * S).
        z: z-depths of the samples, metres.
        depth: z-depth of the surface on each ray, metres.
        stretch: length of each ray per metre of z-depth.
        trust: weights of the rays; rays with weight 0 contribute nothing.
        inside: largest distance inside the surface on each ray, metres, inf = no bound.
        truncation_m: truncation distance, metres.
    """
    target = ((depth[:, None] - z) * (stretch / truncation_m)[:, None]).clamp(-1.0, 1.0)
    target = torch.maximum(target, -inside[:, None] / truncation_m)
    return (trust * (s.view_as(z) - target).square().mean(1)).mean()


def free_space_loss(
    s: Float[Tensor, " M"],
    clearance: Float[Tensor, "R F"],
    trust: Float[Tensor, " R"],
    truncation_m: float,
) -> Float[Tensor, ""]:
    """Return the mean square of the amount by which signed distances in free space are too small.

    Args:
        s: signed distances in truncations, ray by ray (M = R * F).
        clearance: least signed distance of each sample, metres.
        trust: weights of the rays.
        truncation_m: truncation distance, metres.
    """
    missing = (s.view_as(clearance) - clearance / truncation_m).clamp_max(0.0)
    return (trust * missing.square().mean(1)).mean()


def depth_loss(
    rendered: Float[Tensor, " R"],
    depth: Float[Tensor, " R"],
    stretch: Float[Tensor, " R"],
    trust: Float[Tensor, " R"],
    truncation_m: float,
) -> Float[Tensor, ""]:
    """Return the mean smooth L1 error of rendered depths, in truncations along the ray.

    Args:
        rendered, depth: rendered and measured z-depths, metres.
        stretch, trust, truncation_m: as in ``near_loss``.
    """
    scale = stretch / truncation_m
    error = functional.smooth_l1_loss(rendered * scale, depth * scale, reduction="none")
    return (trust * error).mean()


def color_loss(
    color: Float[Tensor, "R 3"],
    target: Float[Tensor, "R 3"],
    weight: Float[Tensor, " R"] | None = None,
) -> Float[Tensor, ""]:
    """Return the mean squared error of colours in 0..1.

    Args:
        weight: weights of the rays, None = all 1. Rays with weight 0 count as rays without error.
    """
    each = functional.mse_loss(color, target, reduction="none").mean(1)
    return _weighted(each, weight).sum() / max(len(color), 1)


def label_loss(
    scores: Float[Tensor, "R C"],
    label: Int[Tensor, " R"],
    weight: Float[Tensor, " R"] | None = None,
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of the label head.

    Args:
        scores: scores of the C rows of the label head.
        label: true rows, -1 = void; these rays count as rays without error.
        weight: weights of the rays, None = all 1.
    """
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
    """Return half the mean squared distance between latents and those of their class names.

    For unit vectors, half the squared distance is 1 - cosine.

    Args:
        latent: composited latents; the first ``rank`` columns are compared.
        label: row of the class, -1 = void; these rays count as rays without error.
        class_latents: V'(e - mean), the embedding e of each class name in the language basis V.
        rank: number of columns of the basis in use.
        weight: weights of the rays, None = all 1.
    """
    if rank == 0 or not len(class_latents):
        return latent.sum() * 0.0
    known = _weighted((label >= 0).to(latent.dtype), weight)
    target = class_latents[label.clamp_min(0), :rank]
    error = (latent[:, :rank] - target).square().sum(-1)
    return 0.5 * (error * known).sum() / max(len(label), 1)


def _weighted(each: Float[Tensor, " R"], weight: Float[Tensor, " R"] | None) -> Float[Tensor, " R"]:
    return each if weight is None else each * weight
