"""What rays see of a traced surface, with gradients by the codes and the network.

Opacity is a soft function of the least signed distance along a ray, so that silhouettes have a
gradient (IDR: Yariv et al. 2020); at the place of the least distance the derivative along the ray
is 0, so that the place itself needs none. The point where the surface is met moves along its ray so
that the distance stays 0 (implicit differentiation: DVR, Niemeyer et al. 2020).
"""

from __future__ import annotations

import torch
from torch import Tensor

from semantic_field.object_prior.signed_distance.active_rays import ActiveRays
from semantic_field.object_prior.signed_distance.sphere_tracing import Distance

FLATTEST = 0.05
"""Least slope of the distance along a ray that is divided by: grazing rays would run away."""


def opacity_of(least_distance: Tensor, softness: float) -> Tensor:
    """Return opacities 0..1 of least signed distances: 1/2 where a ray just touches the surface.

    Args:
        softness: distance at which a ray is taken to see the surface with probability 1/(1 + e).
    """
    return torch.sigmoid(-least_distance / softness)


def with_implicit_gradient(
    distance: Distance, origins: Tensor, directions: Tensor, surface: Tensor, hit: Tensor
) -> Tensor:
    """Return ``surface`` (B, M), where rays meet the surface, with the gradient of the network.

    One Newton step along the ray whose slope is held fixed: f(t) = 0 gives dt = -df / f'(t). Rays
    without a hit keep their place. Without gradients nothing is computed.
    """
    if not torch.is_grad_enabled():
        return surface
    at = surface.detach().requires_grad_()
    found = distance(origins + directions * at.unsqueeze(-1))
    (slope,) = torch.autograd.grad(found.sum(), at, retain_graph=True)
    fixed = at.detach()
    step = (found - found.detach()) / slope.clamp(max=-FLATTEST)
    return torch.where(hit, fixed - step, fixed)


def scattered(rays: ActiveRays, values: Tensor, count: int, elsewhere: float) -> Tensor:
    """Return values (B, M, ...) of some rays as those of all ``count``; others ``elsewhere``."""
    shape = (len(values), count, *values.shape[2:])
    return rays.put(values.new_full(shape, elsewhere), values)
