"""Compositing: from signed distances along a ray to weights, composited codes and depths.

The weight of a sample with signed distance s is sigmoid(s / b) sigmoid(-s / b), a bell around
the surface (Azinovic et al. 2022, Neural RGB-D, eq. 3). Samples far behind the first surface get
weight 0. The weights of a ray are normalised to sum 1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Composite(NamedTuple):
    """Result of compositing R rays of S samples.

    Attributes:
        weights: weights of the samples, detached.
        code: composited codes.
        depth: composited depths, in the unit of the samples' positions.
    """

    weights: Float[Tensor, "R S"]
    code: Float[Tensor, "G R"]
    depth: Float[Tensor, " R"]


def composite(
    s: Float[Tensor, " N"],
    codes: Float[Tensor, "G N"],
    z: Float[Tensor, "R S"],
    sharpness: float,
    behind: float,
    codes_shape_geometry: bool = True,
) -> Composite:
    """Return the composites of R rays with S samples each; differentiable in ``s`` and ``codes``.

    Args:
        s: signed distances in truncations, ray by ray (N = R * S).
        codes: geometry codes of the samples.
        z: increasing positions of the samples along their rays.
        sharpness: 1 / b, the truncation distance divided by the half width of the weights.
        behind: largest distance behind the first sample inside a surface at which samples have
            weight, in units of ``z``.
        codes_shape_geometry: whether gradients of the composited codes flow into ``s``.
    """
    weights = _weights(s.view_as(z), z, sharpness, behind)
    shaping = weights if codes_shape_geometry else weights.detach()
    code = (codes.view(-1, *z.shape) * shaping).sum(2)
    return Composite(weights.detach(), code, (weights * z).sum(1))


def _weights(
    s: Float[Tensor, "R S"], z: Float[Tensor, "R S"], sharpness: float, behind: float
) -> Float[Tensor, "R S"]:
    last = torch.where(s < 0, z, float("inf")).amin(1, keepdim=True) + behind
    scaled = s * sharpness
    bell = torch.sigmoid(scaled) * torch.sigmoid(-scaled) * (z <= last)
    return bell / bell.sum(1, keepdim=True).clamp_min(1e-12)
