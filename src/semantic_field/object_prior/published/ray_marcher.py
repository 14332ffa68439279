"""The learnt ray marcher of Scene Representation Networks: an LSTM says how far to go.

Sitzmann et al. (NeurIPS 2019), section 3.2: at each step the features at a ray's point go into an
LSTM cell, whose hidden state gives the length of the next step along the ray.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from semantic_field.object_prior.prior_model import CanonicalRays

Features = Callable[[Tensor], Tensor]
HIDDEN_GRADIENT = 10.0  # bound on each component of the gradient at a hidden state
SPHERE = 1.8  # canonical radius: objects lie within about -1..1 of every axis


class RayMarcher(nn.Module):
    """Marches rays by an LSTM cell over features of width ``width``.

    Args:
        hidden: size of the cell's state.
        steps: that every ray takes.
        start: ``camera`` (at the depth ``start_depth`` along z, as published), or ``sphere``
            (where a ray enters the sphere around the category's canonical coordinates, or comes
            closest to it).
    """

    def __init__(self, width: int, hidden: int, steps: int, start: str, start_depth: float) -> None:
        super().__init__()
        self.steps, self.start, self.start_depth = steps, start, start_depth
        self.cell = nn.LSTMCell(width, hidden)
        with torch.no_grad():  # both biases of the forget gate, the second quarter
            self.cell.bias_ih[hidden : 2 * hidden] = 1.0
            self.cell.bias_hh[hidden : 2 * hidden] = 1.0
        self.step_length = nn.Linear(hidden, 1)

    def first_distances(self, rays: CanonicalRays) -> Float[Tensor, "B R"]:
        """Return where rays begin, as distances along them."""
        if self.start == "camera":
            return self.start_depth / rays.cosines
        closest = -(rays.origins * rays.directions).sum(-1)
        inside = SPHERE**2 - (rays.origins.square().sum(-1) - closest.square())
        return (closest - inside.clamp_min(0).sqrt()).clamp_min(self.start_depth)

    def forward(self, features: Features, rays: CanonicalRays) -> Float[Tensor, "B R"]:
        """Return the distance along each ray at which its last step ends.

        Args:
            features: of points (B, R, 3), as (B, R, F).
        """
        distances = self.first_distances(rays)
        state: tuple[Tensor, Tensor] | None = None
        for _ in range(self.steps):
            value = features(ray_points(rays, distances))
            state = hidden, _ = self.cell(value.flatten(0, 1), state)
            if hidden.requires_grad:
                hidden.register_hook(_bounded)
            distances = distances + self.step_length(hidden).view(distances.shape)
        return distances


def ray_points(rays: CanonicalRays, distances: Tensor) -> Float[Tensor, "B R 3"]:
    """Return the points at distances (B, R) along rays."""
    return rays.origins + rays.directions * distances[..., None]


def _bounded(gradient: Tensor) -> Tensor:
    return gradient.clamp(-HIDDEN_GRADIENT, HIDDEN_GRADIENT)
