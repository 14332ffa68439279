"""Interface of the hash grid kernels, and the memory layout of the grid.

The grid is L lattices of growing resolution. A vertex with the integer coordinates (i, j, k) of
level l lies at (i, j, k) * cell_l in the map frame: absolute coordinates, so the grid has no
bounds and a map can grow without moving data. Vertices are hashed by blocks of 2 x 2 x 2: the
block's coordinates, made positive, are hashed as in Instant-NGP (Mueller et al. 2022, eq. 4), and
its eight vertices are stored side by side, x fastest. Neighbours therefore share cache lines: the
eight corners of a cell lie in 3.4 blocks on average, not in four to eight unrelated places.

A *line* is four vertices of one block (2 x 2 x 1): the unit in which gradients are tracked.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

VERTICES_PER_BLOCK = 8
VERTICES_PER_LINE = 4
HASH_PRIMES = (1, 2654435761, 805459861)
HASH_CENTRE = 0x155555
"""Offset added to block coordinates before hashing, against collisions of mirrored blocks. The low
bits of a and -a differ by a mask that depends only on a's trailing zeros. Without the offset, block
(x, y, z) would therefore collide with (-x, -y, z) for a third of all x and y, on every level, so
that the two halves of a room share entries. With it, the centre of this symmetry is hundreds of
metres from the map's origin."""


@dataclass(frozen=True)
class GridShape:
    """Sizes of a grid.

    Attributes:
        cells_m: cell edge of each level, metres.
        table_size: entries reserved for each level, a power of two.
        features: floats per entry.
        extent_m: edge of the cube around the origin that bounded kernels ("tcnn") cover; the
            others are unbounded.
        level_sizes: number of entries in use at each level, powers of two; by default
            ``table_size``. The entries in use are the first ones of the level.
    """

    cells_m: tuple[float, ...]
    table_size: int
    features: int
    extent_m: float = math.inf
    level_sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.level_sizes:
            object.__setattr__(self, "level_sizes", (self.table_size,) * self.levels)
        if len(self.level_sizes) != self.levels:
            raise ValueError(f"expected {self.levels} level sizes, got {self.level_sizes}")
        for size in (self.table_size, *self.level_sizes):
            if not VERTICES_PER_BLOCK <= size <= self.table_size or size & (size - 1):
                raise ValueError(f"expected a table size that is a power of two >= 8, got {size}")

    @property
    def levels(self) -> int:
        return len(self.cells_m)

    @property
    def encoding_dim(self) -> int:
        return self.levels * self.features

    @property
    def table_shape(self) -> tuple[int, int, int]:
        return self.levels, self.table_size, self.features

    def with_sizes(self, level_sizes: tuple[int, ...]) -> GridShape:
        """Return the same lattices with other numbers of entries in use."""
        return replace(self, level_sizes=level_sizes)

    def block_masks(self, device: torch.device | str = "cpu") -> Int[Tensor, " L"]:
        """Return each level's bit mask, int32 (L,), from a block's hash to its index."""
        masks = [size // VERTICES_PER_BLOCK - 1 for size in self.level_sizes]
        return torch.tensor(masks, dtype=torch.int32, device=device)

    def inverse_cells(self, device: torch.device | str = "cpu") -> Float[Tensor, " L"]:
        return torch.tensor([1.0 / c for c in self.cells_m], dtype=torch.float32, device=device)


def grid_shape(
    levels: int,
    features: int,
    log2_table_size: int,
    coarsest_m: float,
    finest_m: float,
    extent_m: float = math.inf,
) -> GridShape:
    """Return a grid whose cells shrink by a constant factor from ``coarsest_m`` to ``finest_m``.

    Raises:
        ValueError: if the cell sizes are not positive and in this order.
    """
    if not coarsest_m >= finest_m > 0:
        raise ValueError(
            f"expected coarsest_cell_m >= finest_cell_m > 0, got {coarsest_m} and {finest_m}"
        )
    ratio = (finest_m / coarsest_m) ** (1.0 / max(levels - 1, 1))
    cells = tuple(coarsest_m * ratio**level for level in range(levels))
    return GridShape(cells, 1 << log2_table_size, features, extent_m)


def power_of_two(n: int) -> int:
    """Return the smallest power of two that is at least ``n``."""
    return 1 << (n - 1).bit_length()


def reserve_zeros(
    shape: tuple[int, ...],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return zeros whose memory pages the operating system allocates when they are first written.

    ``torch.zeros`` would write all of them. On a GPU all memory is allocated at once.
    """
    if torch.device(device).type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    kinds = {torch.float32: np.float32, torch.uint8: np.uint8, torch.int32: np.int32}
    if dtype not in kinds:
        return torch.zeros(shape, dtype=dtype)
    return torch.from_numpy(np.zeros(shape, kinds[dtype]))


class GridGradient:
    """Gradient of a loss with respect to the table, and which lines of it are not zero.

    Args:
        dtype: float32; the CUDA kernels also accumulate in float16, with packed atomics.
        scale: loss scale: factor on float16 gradients, so that small ones do not underflow; the
            optimiser divides by it. Only the CUDA kernels support other values than 1.

    Attributes:
        table: (L, T, F), of type ``dtype``.
        touched: uint8 (L, T / 4), 1 where a line has received a gradient since the last step.
        lines: int32 (L, T / 4); the first ``counts[l]`` entries list the touched lines of level l.
        counts: int64 (L,); the CUDA kernels keep no lists and leave it 0.
    """

    def __init__(
        self,
        shape: GridShape,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        scale: float = 1.0,
    ) -> None:
        lines = shape.table_size // VERTICES_PER_LINE
        self.scale = scale
        self.table = reserve_zeros(shape.table_shape, device, dtype)
        self.touched = reserve_zeros((shape.levels, lines), device, torch.uint8)
        self.lines = reserve_zeros((shape.levels, lines), device, torch.int32)
        self.counts = torch.zeros(shape.levels, dtype=torch.int64, device=device)

    def clear(self) -> None:
        """Set the gradient to zero everywhere; optimiser steps do so where it was touched."""
        for tensor in (self.table, self.touched, self.counts):
            tensor.zero_()


class GridMoments:
    """Adam's moments: running means of the gradient and of its square, float32 (L, T, F) each."""

    def __init__(self, shape: GridShape, device: torch.device | str = "cpu") -> None:
        self.first = reserve_zeros(shape.table_shape, device)
        self.second = reserve_zeros(shape.table_shape, device)


class GridKernels(ABC):
    """Abstract base of the performance-critical operations on a hash grid.

    Points are float32 (N, 3) in metres, tables float32 (L, T, F), features are feature-major
    float32 (L * F, N). N may be 0. All tensors are on one device.
    """

    name: str
    half = False
    """Whether the table that is read and the gradient may be float16 (see ``GridGradient``)."""
    grows = True
    """Whether a level may start with a small table that grows (``GridShape.level_sizes``)."""
    capturable = False
    """Whether everything but ``set_rates`` may be captured in a CUDA graph."""

    def __init__(self, shape: GridShape, threads: int = 2) -> None:
        self.shape, self.threads = shape, threads

    def with_shape(self, shape: GridShape) -> GridKernels:
        """Return the same kernels for tables of another size (same levels and features)."""
        return self._like(shape, self.threads)

    def with_threads(self, threads: int) -> GridKernels:
        """Return the same kernels with another number of threads."""
        return self._like(self.shape, threads)

    def _like(self, shape: GridShape, threads: int) -> GridKernels:
        return type(self)(shape, threads)

    @abstractmethod
    def encode(
        self, points: Float[Tensor, "N 3"], table: Float[Tensor, "L T F"]
    ) -> Float[Tensor, "LF N"]:
        """Return the points' features (L * F, N) by trilinear interpolation on every level."""

    @abstractmethod
    def backward_table(
        self,
        points: Float[Tensor, "N 3"],
        grad_features: Float[Tensor, "LF N"],
        gradient: GridGradient,
    ) -> None:
        """Add the gradient with respect to the table to ``gradient``, in place."""

    @abstractmethod
    def backward_points(
        self,
        points: Float[Tensor, "N 3"],
        table: Float[Tensor, "L T F"],
        grad_features: Float[Tensor, "LF N"],
    ) -> Float[Tensor, "N 3"]:
        """Return the gradient (N, 3) with respect to the points (one-sided at cell borders)."""

    @abstractmethod
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
        """Apply Adam (Kingma & Ba 2015, algorithm 1) in place, then clear the gradient.

        Elements whose gradient is exactly zero are skipped: value and moments stay unchanged.
        ``step`` counts from 1, for the bias correction.
        """

    def set_rates(
        self,
        step: int,
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.99),
        epsilon: float = 1e-15,
    ) -> None:
        """Set the arguments of the next ``apply_adam``; see ``adam_step``."""
        self._next_rates = (step, learning_rate, betas, epsilon)

    def apply_adam(
        self,
        table: Float[Tensor, "L T F"],
        gradient: GridGradient,
        moments: GridMoments,
        working: Float[Tensor, "L T F"] | None = None,
    ) -> None:
        """Run ``adam_step`` with the rates set last by ``set_rates``.

        ``working`` is a copy of the table in another floating type that is updated with it; only
        if ``half`` is true.
        """
        assert working is None
        self.adam_step(table, gradient, moments, *self._next_rates)
