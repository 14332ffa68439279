"""Losses of GP-NeRF: colour, classes, carried votes, and the two distillations.

Numbers of equations are those of Li et al. 2024. The released code gives samples away from the
surface the target 0, for which torch's cosine embedding loss is always 0; here it is -1.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, relu, smooth_l1_loss

LEAST = 1e-6  # probability below which a vote counts as absent


def color_loss(
    predicted: Float[Tensor, "h w 3"], true: Float[Tensor, "h w 3"], seen: Bool[Tensor, "h w"]
) -> Tensor:
    """Return the squared error, summed over the channels, averaged over the rays that are seen."""
    error = ((predicted - true) ** 2).sum(-1)
    return _mean(error, seen)


def class_loss(logits: Float[Tensor, "h w C"], labels: Int[Tensor, "h w"]) -> Tensor:
    """Return the mean cross-entropy over the rays with a label; 0 without any."""
    entropy = cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=-1, reduction="sum"
    )
    return entropy / (labels >= 0).sum().clamp_min(1)


def vote_loss(
    scores: Float[Tensor, "h w C"], votes: Float[Tensor, "h w C"], labels: Int[Tensor, "h w"]
) -> Tensor:
    """Return the mean cross-entropy of what was carried, with void as one more outcome.

    The right outcome is the true class where a source named it, and void where none did: then the
    best answer is that one does not know. Void has what the scores leave. So the loss is a proper
    score, and the largest score becomes the probability that its class is right.

    Args:
        scores: at least 0, sum at most 1.
        votes: what the sources named on the ray itself.
        labels: true class rows, -1 = unknown (left out).
    """
    row = labels.clamp_min(0)[..., None]
    named = votes.gather(-1, row)[..., 0] > LEAST
    right = torch.where(named, scores.gather(-1, row)[..., 0], 1.0 - scores.sum(-1))
    return _mean(-right.clamp_min(LEAST).log(), labels >= 0)


def distillation_loss(
    rendered: Float[Tensor, "h w D"], teacher: Float[Tensor, "h w D"], seen: Bool[Tensor, "h w"]
) -> Tensor:
    """Return 1 - cosine of rendered features to those of the target's own image (detached)."""
    return _mean(1.0 - cosine_similarity(rendered, teacher.detach(), dim=-1), seen)


def depth_guided_loss(
    samples: Float[Tensor, "h w S D"],
    weights: Float[Tensor, "h w S"],
    teacher: Float[Tensor, "h w D"],
    seen: Bool[Tensor, "h w"],
    window: int,
    margin: float = 0.0,
) -> Tensor:
    """Return Eq. 13: samples at the surface look like the target's own features, others do not.

    The surface is the sample with the largest weight. Those within ``window`` of it cost
    1 - cosine, all others max(0, cosine - margin). At the ends of the ray the window is moved, not
    cut, so all rays have the same number in it.
    """
    cosine = cosine_similarity(samples, teacher.detach()[..., None, :], dim=-1)
    near = at_surface(weights, window)
    return _mean(torch.where(near, 1.0 - cosine, relu(cosine - margin)).mean(-1), seen)


def at_surface(weights: Float[Tensor, "h w S"], window: int) -> Bool[Tensor, "h w S"]:
    """Return which samples are among the 2 ``window`` + 1 about the largest weight."""
    count = weights.shape[-1]
    first = (weights.argmax(-1) - window).clamp(0, max(count - 2 * window - 1, 0))[..., None]
    place = torch.arange(count, device=weights.device)
    return (place >= first) & (place <= first + 2 * window)


def depth_loss(
    predicted: Float[Tensor, "h w"], true: Float[Tensor, "h w"], seen: Bool[Tensor, "h w"]
) -> Tensor:
    """Return the mean smooth L1 error, metres, over seen rays whose depth is known (not 0)."""
    error = smooth_l1_loss(predicted, true, reduction="none", beta=0.1)
    return _mean(error, seen & (true > 0))


def _mean(values: Float[Tensor, "h w"], use: Bool[Tensor, "h w"]) -> Tensor:
    return torch.where(use, values, 0.0).sum() / use.sum().clamp_min(1)
