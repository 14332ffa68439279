"""Prototypes of a category: typical shapes as grids of signed distance, cheap to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from semantic_field.data.objects.object_views import CategoryFrame
from semantic_field.object_prior.code_distribution import spread_codes

REACH = 1.1  # the grids cover -REACH .. REACH in canonical coordinates
CHUNK = 1 << 17  # points of a query


class DistancePrior(Protocol):
    """The part of a prior with a signed distance that fits of geometry need."""

    category: str
    part_names: tuple[str, ...]
    frame: CategoryFrame
    codes: nn.Embedding
    label_layer: nn.Linear

    def distances(self, codes: Tensor, points: Tensor) -> Tensor:
        """Return signed distances (B, N), canonical units, at canonical points (B, N, 3)."""
        ...

    def features(self, codes: Tensor, points: Tensor) -> Tensor:
        """Return the features (B, N, F) at canonical points (B, N, 3)."""
        ...


@dataclass(frozen=True)
class PrototypeBank:
    """Typical shapes of a category in the object's own frame, metres.

    Attributes:
        codes: (P, D).
        grids: (P, G, G, G) float32 signed distances at the nodes, metres; axes x, y, z.
        low: (3,) place of the first node; step: distance of the nodes.
        surface: (P, S, 3) float32 points on the surface.
        extents: (P, 2, 3) lower and upper corner of each.
    """

    codes: Float[Tensor, "P D"]
    grids: NDArray[np.float32]
    low: NDArray[np.float64]
    step: float
    surface: NDArray[np.float32]
    extents: NDArray[np.float64]

    @classmethod
    @torch.no_grad()
    def of(
        cls, prior: DistancePrior, count: int = 24, nodes: int = 32, samples: int = 160
    ) -> PrototypeBank:
        """Return the bank of a prior: ``count`` training codes far from one another.

        Raises:
            ValueError: if no prototype has a surface.
        """
        codes = prior.codes.weight[spread_codes(prior.codes.weight, count)].detach().float()
        line = torch.linspace(-REACH, REACH, nodes)
        places = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
        distances = torch.stack([_distances(prior, code, places) for code in codes])
        unit = prior.frame.unit_m
        grids = (distances * unit).reshape(-1, nodes, nodes, nodes)
        used, surfaces = [], []
        for index, grid in enumerate(grids):
            found = _surface_points(grid, samples)
            if found is not None:
                used.append(index)
                surfaces.append(found)
        if not used:
            raise ValueError(
                f"expected a surface in the prototypes of {prior.category!r}, got none"
            )
        centre = np.asarray(prior.frame.centre_m)
        surface = torch.stack(surfaces).numpy() * unit + centre
        low = surface.min(1)
        return cls(
            codes[used],
            np.ascontiguousarray(grids[used].numpy()),
            -REACH * unit + centre,
            2 * REACH * unit / (nodes - 1),
            surface.astype(np.float32),
            np.stack([low, surface.max(1)], axis=1),
        )

    def sample(self, index: Tensor, points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N"]:
        """Return signed distances (metres) of prototypes ``index`` (B,) at points of their frame.

        Trilinear; outside the grid the value at its border. Differentiable by the points.
        """
        span = self.step * (self.grids.shape[-1] - 1)
        places = 2 * (points - torch.as_tensor(self.low, dtype=points.dtype)) / span - 1
        grids = torch.from_numpy(self.grids)[index][:, None]
        return functional.grid_sample(
            grids,
            places.flip(-1)[:, :, None, None],
            mode="bilinear",
            padding_mode="border",
            align_corners=True,
        )[:, 0, :, 0, 0]


@torch.no_grad()
def coarse_surface(
    prior: DistancePrior, code: Tensor, nodes: int = 32, samples: int = 500
) -> NDArray[np.float64]:
    """Return points (N, 3) on the surface of a code (D,), object's frame, metres; N = 0: none.

    Found between the nodes of a grid: thinner things are missed.
    """
    line = torch.linspace(-REACH, REACH, nodes)
    places = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    found = _surface_points(_distances(prior, code, places).reshape((nodes,) * 3), samples)
    if found is None:
        return np.zeros((0, 3))
    return prior.frame.to_object(found.double().numpy())


def _distances(prior: DistancePrior, code: Tensor, places: Tensor) -> Tensor:
    parts = [prior.distances(code[None], part[None])[0] for part in places.split(CHUNK)]
    return torch.cat(parts).float()


def _surface_points(grid: Tensor, samples: int) -> Tensor | None:
    """Return canonical points (samples, 3) on the zero level of a grid (metres), or None.

    Found where edges between nodes along an axis change their sign.
    """
    nodes = grid.shape[-1]
    step = 2 * REACH / (nodes - 1)
    found = []
    for axis in range(3):
        first, second = grid.narrow(axis, 0, nodes - 1), grid.narrow(axis, 1, nodes - 1)
        crossing = (first > 0) != (second > 0)
        share = (first / (first - second))[crossing]
        at = crossing.nonzero().float()
        at[:, axis] += share
        found.append(at * step - REACH)
    points = torch.cat(found)
    if len(points) < 8:
        return None
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))
    repeats = -(-samples // len(points))
    return points[order].repeat(repeats, 1)[:samples]
