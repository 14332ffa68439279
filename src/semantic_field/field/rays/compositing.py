"""From signed distances along a ray to weights, composited codes and depths.

The weight of a sample with signed distance s is sigmoid(s / b) sigmoid(-s / b), a bell around
the surface (Azinovic et al. 2022, Neural RGB-D, eq. 3); samples far behind the first surface do
not count. Weights of a ray sum to 1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Composite(NamedTuple):
    """What R rays see: weights (R, S) of their samples, composited codes (G, R), depths (R,).

    Depths are in the unit of the samples' positions. No gradient flows through the weights.
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
    """Composite R rays of S samples each (N = R * S); differentiable in ``s`` and ``codes``.

    Args:
        s: signed distances in truncations, ray by ray.
        codes: geometry codes of the samples.
        z: increasing positions of the samples along their rays.
        sharpness: truncation over the half width of the weights (1 / b).
        behind: how far behind the first surface samples still count, in units of ``z``.
        codes_shape_geometry: whether gradients of the codes move the distances.
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
