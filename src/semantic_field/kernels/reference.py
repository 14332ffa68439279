"""Hash grid kernels in plain torch: reference for tests of the others, and fallback."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from semantic_field.kernels.interface import (
    HASH_CENTRE,
    HASH_PRIMES,
    VERTICES_PER_BLOCK,
    VERTICES_PER_LINE,
    GridGradient,
    GridKernels,
    GridMoments,
    GridShape,
)


def hash_vertices(
    vertex: Int[Tensor, "... 3"], table_size: int | Int[Tensor, "..."]
) -> Int[Tensor, "..."]:
    """Return the table index (...) of integer lattice coordinates (int64, may be negative).

    ``table_size`` may differ from vertex to vertex.
    """
    block, local = (vertex >> 1) + HASH_CENTRE, vertex & 1
    hashed = torch.zeros_like(vertex[..., 0])
    for axis, prime in enumerate(HASH_PRIMES):
        hashed = hashed ^ (block[..., axis] * prime)
    hashed = hashed & (table_size // VERTICES_PER_BLOCK - 1)
    return hashed * VERTICES_PER_BLOCK + local[..., 0] + 2 * local[..., 1] + 4 * local[..., 2]


def corner_indices(
    points: Float[Tensor, "N 3"], shape: GridShape
) -> tuple[Int[Tensor, "L N 8"], Float[Tensor, "L N 3"]]:
    """Return table indices of the corners around each point, and its position in the cell, 0..1."""
    scaled = points * shape.inverse_cells(points.device)[:, None, None]  # (L, N, 3)
    lowest = scaled.floor()
    corner = torch.arange(8, device=points.device)
    offsets = torch.stack([corner & 1, corner >> 1 & 1, corner >> 2], dim=-1)  # (8, 3)
    vertices = lowest.long()[:, :, None] + offsets
    sizes = torch.tensor(shape.level_sizes, device=points.device)[:, None, None]
    return hash_vertices(vertices, sizes), scaled - lowest


def corner_weights(fraction: Float[Tensor, "L N 3"]) -> Float[Tensor, "L N 8"]:
    """Return the trilinear weights of the eight corners."""
    x, y, z = (torch.stack([1.0 - fraction[..., a], fraction[..., a]], -1) for a in range(3))
    xy = y[..., :, None] * x[..., None, :]
    return (z[..., :, None, None] * xy[..., None, :, :]).flatten(-3)


class ReferenceKernels(GridKernels):
    """Kernels from torch indexing and autograd."""

    name = "reference"

    def _corners(
        self, points: Float[Tensor, "N 3"]
    ) -> tuple[Int[Tensor, "L N 8"], Float[Tensor, "L N 3"]]:
        return corner_indices(points, self.shape)

    def encode(
        self, points: Float[Tensor, "N 3"], table: Float[Tensor, "L T F"]
    ) -> Float[Tensor, "LF N"]:
        indices, fraction = self._corners(points)
        levels, n, _ = indices.shape
        rows = indices.flatten(1)[..., None].expand(-1, -1, self.shape.features)
        values = torch.gather(table, 1, rows).view(levels, n, 8, self.shape.features)
        features = (corner_weights(fraction)[..., None] * values).sum(2)  # (L, N, F)
        return features.permute(0, 2, 1).reshape(self.shape.encoding_dim, n)

    def backward_table(
        self,
        points: Float[Tensor, "N 3"],
        grad_features: Float[Tensor, "LF N"],
        gradient: GridGradient,
    ) -> None:
        indices, fraction = self._corners(points)
        grad = grad_features.view(self.shape.levels, self.shape.features, -1).permute(0, 2, 1)
        contribution = corner_weights(fraction)[..., None] * grad[:, :, None]  # (L, N, 8, F)
        for level in range(self.shape.levels):
            flat = indices[level].flatten()
            gradient.table[level].index_add_(0, flat, contribution[level].flatten(0, 1))
            gradient.touched[level, flat // VERTICES_PER_LINE] = 1
            lines = gradient.touched[level].nonzero()[:, 0]
            gradient.lines[level, : len(lines)] = lines.int()
            gradient.counts[level] = len(lines)

    def backward_points(
        self,
        points: Float[Tensor, "N 3"],
        table: Float[Tensor, "L T F"],
        grad_features: Float[Tensor, "LF N"],
    ) -> Float[Tensor, "N 3"]:
        with torch.enable_grad():
            points = points.detach().requires_grad_()
            features = self.encode(points, table.detach())
        return torch.autograd.grad(features, points, grad_features)[0]

    def adam_step(
        self,
        table: Float[Tensor, "L T F"],
        gradient: GridGradient,
        moments: GridMoments,
        step: int,
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.99),
        epsilon: float = 1e-15,
    ) -> None:
        moved = gradient.table != 0
        grad = gradient.table[moved]
        first = torch.lerp(grad, moments.first[moved], betas[0])
        second = torch.lerp(grad.square(), moments.second[moved], betas[1])
        moments.first[moved], moments.second[moved] = first, second
        unbiased = first / (1 - betas[0] ** step)
        scale = (second / (1 - betas[1] ** step)).sqrt() + epsilon
        table[moved] -= learning_rate * unbiased / scale
        gradient.table.zero_()
        gradient.touched.zero_()
        gradient.counts.zero_()
