"""Whether a shape looks the same from all sides: then nobody can tell its yaw."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semantic_field.object_prior.prototypes import DistancePrior, coarse_surface

TURNS = 8
ROUND = 0.05  # of the shape's width: by how much its turned surface may be off ...
NEARLY_ALL = 0.97  # ... at this share of its points: a handle is a small part of a mug


@torch.no_grad()
def is_round(prior: DistancePrior, code: Tensor) -> bool:
    """Return whether the shape of a code (D,) hardly changes when it is turned about its axis."""
    surface = torch.from_numpy(coarse_surface(prior, code))
    if not len(surface):
        return False
    low, high = surface[:, :2].min(0).values, surface[:, :2].max(0).values
    middle, width = (low + high) / 2, float((high - low).max())
    centre = torch.tensor(prior.frame.centre_m, dtype=torch.float64)
    worst = 0.0
    for turn in range(1, TURNS):
        angle = 2 * math.pi * (turn + 0.31) / TURNS  # no symmetry of polygons
        c, s = math.cos(angle), math.sin(angle)
        x, y = (surface[:, :2] - middle).unbind(1)
        turned = torch.stack([c * x - s * y + middle[0], s * x + c * y + middle[1], surface[:, 2]])
        places = ((turned.T - centre) / prior.frame.unit_m).float()
        off = prior.distances(code[None], places[None]).abs() * prior.frame.unit_m
        worst = max(worst, float(off.quantile(NEARLY_ALL)))
    return worst < ROUND * width
