"""How well photographs agree, in torch; the counterpart of ``agreement``.

Sums are taken over all points with weight 0 for those that do not count, so that nothing waits for
the device.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from semantic_field.field.views.agreement import (
    CLOSE_M,
    LEAST_POINTS,
    LIMITS,
    MOST_APART,
    NOISE,
    PRIOR_POINTS,
)


def exposures_between(
    colors: Float[Tensor, "K N 3"], seen: Bool[Tensor, "K N"], distance: Float[Tensor, " K"]
) -> Float[Tensor, "K 3 2"]:
    """See ``agreement.exposures_between``; ``distance`` and the result are float64."""
    near = (CLOSE_M + distance) ** -3
    near = near / near.sum()
    pairs = seen[:, None] & seen[None]
    pairs &= ~torch.eye(len(seen), dtype=torch.bool, device=seen.device)[..., None]
    pairs &= pairs.sum(2, keepdim=True) >= LEAST_POINTS
    gain, bias = _matched((colors / 255.0).permute(2, 0, 1), pairs).unbind(-1)  # (3, K)
    level = gain @ near  # (3,)
    gain, bias = gain / level[:, None], bias / level[:, None]
    bias = bias - (bias @ near)[:, None]
    return torch.stack([gain.clamp(*LIMITS), 255.0 * bias], -1).transpose(0, 1)


def _matched(color: Float[Tensor, "3 K N"], pairs: Bool[Tensor, "K K N"]) -> Float[Tensor, "3 K 2"]:
    """Solve all channels, colours in 0..1; returns a and b."""
    K = len(pairs)
    close = pairs & ((color[:, :, None] - color[:, None]).abs() < MOST_APART / 255)
    used = close.double()  # (3, K, K, N)
    own, other = color.double()[:, :, None], color.double()[:, None]
    count, first = used.sum(3), (used * own).sum(3)
    square, product = (used * own.square()).sum((2, 3)), (used * own * other).sum(3)
    A = color.new_zeros(3, K, 2, K, 2, dtype=torch.float64)
    A[:, :, 0, :, 0] = torch.diag_embed(square + PRIOR_POINTS) - product
    mixed = torch.diag_embed(first.sum(2))
    A[:, :, 0, :, 1] = mixed - first
    A[:, :, 1, :, 0] = mixed - first.transpose(1, 2)
    A[:, :, 1, :, 1] = torch.diag_embed(count.sum(2) + PRIOR_POINTS) - count
    prior = torch.zeros_like(A[..., 0, 0])  # (3, K, 2)
    prior[..., 0] = PRIOR_POINTS
    # Without the check of ``solve``, which waits: the prior makes the matrix regular.
    found, _ = torch.linalg.solve_ex(A.reshape(3, 2 * K, 2 * K), prior.reshape(3, 2 * K))
    return found.reshape(3, K, 2)


def trust_by_distance(
    colors: Float[Tensor, "K N 3"],
    seen: Bool[Tensor, "K N"],
    apart: Float[Tensor, "K K"],
    distance: Float[Tensor, " K"],
) -> Float[Tensor, " K"]:
    """See ``agreement.trust_by_distance``; distances and the result are float64."""
    both = torch.triu(torch.ones_like(apart, dtype=torch.bool), 1)[..., None]
    both = both & seen[:, None] & seen[None]  # (K, K, N), each pair once
    count = both.sum(2)
    weight = torch.where(count >= LEAST_POINTS, count, 0).double()
    square = (colors[:, None] - colors[None]).abs().clamp_max(MOST_APART).square().mean(3)
    mean = (square.double() * both).sum(2) / count.clamp_min(1)
    noise, slope = _line(apart, mean, weight)
    expected = noise + slope * distance
    return torch.where(weight.sum() > 0, expected.min() / expected, 1.0)


def _line(x: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """See ``agreement._line``; all (K, K), float64. The results are of no use without weight."""
    share = weight / weight.sum().clamp_min(1)
    mean_x, mean_y = (share * x).sum(), (share * y).sum()
    variance = (weight * (x - mean_x).square()).sum()
    slope = (weight * (x - mean_x) * (y - mean_y)).sum() / variance
    slope = torch.where(variance > 0, slope, 0.0).clamp_min(0)
    flattest = (mean_y - NOISE).clamp_min(0) / mean_x.clamp_min(1e-9)
    slope = torch.where(mean_y - slope * mean_x < NOISE, flattest, slope)
    return (mean_y - slope * mean_x).clamp_min(NOISE), slope
