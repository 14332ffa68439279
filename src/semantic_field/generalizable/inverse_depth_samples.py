"""Samples without a target depth: even in inverse depth, then more of them where it matters.

GP-NeRF (after GNT and IBRNet) places 48 samples evenly between 1 / far and 1 / near, and 16 more
drawn from the weights that the network itself gave to the first.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def inverse_depth_samples(
    size: tuple[int, int],
    count: int,
    bounds: tuple[float, float],
    device: torch.device | str = "cpu",
    jitter: bool = False,
) -> Float[Tensor, "h w S"]:
    """Return z-depths from near to far whose inverses lie in the middles of even bins, metres.

    Args:
        jitter: at random places of the bins instead (training), from torch's own generator.
    """
    near, far = bounds
    within = torch.rand(*size, count, device=device) if jitter else 0.5
    share = (torch.arange(count, device=device, dtype=torch.float32) + within) / count
    return (1.0 / (1.0 / near + (1.0 / far - 1.0 / near) * share)).expand(*size, count)


def importance_samples(
    depths: Float[Tensor, "h w S"],
    weights: Float[Tensor, "h w S"],
    count: int,
    jitter: bool = False,
) -> Float[Tensor, "h w N"]:
    """Draw z-depths from the weights of samples: each weight is spread evenly over its cell.

    A cell reaches, in inverse depth, half-way to the neighbouring samples; the first and the last
    end at their samples. Rays without any weight are sampled as if all weights were the same.

    Args:
        depths: from near to far, metres.
        weights: at least 0.
        jitter: draw at random; otherwise the quantiles (i + 1/2) / N. No gradient passes.
    """
    inverse, weights = 1.0 / depths.detach(), weights.detach() + 1e-5
    middles = (inverse[..., 1:] + inverse[..., :-1]) / 2
    edges = torch.cat([inverse[..., :1], middles, inverse[..., -1:]], -1)
    reached = weights.cumsum(-1)
    reached = torch.cat([torch.zeros_like(reached[..., :1]), reached / reached[..., -1:]], -1)
    within = torch.rand(*depths.shape[:-1], count, device=depths.device) if jitter else 0.5
    share = (torch.arange(count, device=depths.device, dtype=depths.dtype) + within) / count
    share = share.expand(*depths.shape[:-1], count).contiguous()
    cell = torch.searchsorted(reached.contiguous(), share, right=True) - 1
    cell = cell.clamp(0, depths.shape[-1] - 1)
    low, high = reached.gather(-1, cell), reached.gather(-1, cell + 1)
    part = (share - low) / (high - low).clamp_min(1e-12)
    start, end = edges.gather(-1, cell), edges.gather(-1, cell + 1)
    return 1.0 / (start + part.clamp(0.0, 1.0) * (end - start))
