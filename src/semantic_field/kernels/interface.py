"""What every implementation of the grid kernels offers, and the grid's layout in memory.

The grid is L lattices of growing resolution. A vertex with the integer coordinates (i, j, k) of
level l lies at (i, j, k) * cell_l in the map frame: absolute coordinates, so the grid has no
bounds and a map grows without moving anything. Vertices are hashed by blocks of 2 x 2 x 2: the
block's coordinates, made positive, are hashed as in Instant-NGP (Mueller et al. 2022, eq. 4), its
eight vertices lie side by side, x fastest. Neighbours therefore share cache lines: the eight
corners of a cell lie in 3.4 blocks on average instead of in four to eight unrelated places.

A *line* is four vertices of one block (2 x 2 x 1): the unit in which gradients are tracked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

VERTICES_PER_BLOCK = 8
VERTICES_PER_LINE = 4
HASH_PRIMES = (1, 2654435761, 805459861)
HASH_CENTRE = 0x155555
"""Added to the blocks' coordinates before they are hashed. The low bits of a and -a differ by a
mask that depends only on a's trailing zeros, so that without it block (x, y, z) shares its entry
with (-x, -y, z) for a third of all x and y, on every level: half a room with the other half. With
it, what is mirrored lies hundreds of metres from the map's origin."""


@dataclass(frozen=True)
class GridShape:
    """Sizes of a grid: the cell edge of each level in metres, entries per level, features."""

    cells_m: tuple[float, ...]
    table_size: int
    features: int

    def __post_init__(self) -> None:
        size = self.table_size
        if size < VERTICES_PER_BLOCK or size & (size - 1):
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

    def doubled(self) -> GridShape:
        """The same lattices over tables of twice the size."""
        return replace(self, table_size=2 * self.table_size)

    def inverse_cells(self, device: torch.device | str = "cpu") -> Float[Tensor, " L"]:
        return torch.tensor([1.0 / c for c in self.cells_m], dtype=torch.float32, device=device)


def grid_shape(
    levels: int, features: int, log2_table_size: int, coarsest_m: float, finest_m: float
) -> GridShape:
    """The grid whose cells shrink by a constant factor from ``coarsest_m`` to ``finest_m``."""
    if not coarsest_m >= finest_m > 0:
        raise ValueError(
            f"expected coarsest_cell_m >= finest_cell_m > 0, got {coarsest_m} and {finest_m}"
        )
    ratio = (finest_m / coarsest_m) ** (1.0 / max(levels - 1, 1))
    cells = tuple(coarsest_m * ratio**level for level in range(levels))
    return GridShape(cells, 1 << log2_table_size, features)


class GridGradient:
    """The gradient of a loss with respect to the table, and which lines of it are not zero.

    Memory of untouched lines is never written, so the operating system does not provide it.

    Args:
        dtype: float32; the CUDA kernels also add up in float16, with packed atomics.
        scale: what float16 gradients are multiplied by, so that small ones do not vanish; the
            optimiser divides by it. Only the CUDA kernels take another one than 1.

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
        self.table = torch.zeros(shape.table_shape, dtype=dtype, device=device)
        self.touched = torch.zeros(shape.levels, lines, dtype=torch.uint8, device=device)
        self.lines = torch.zeros(shape.levels, lines, dtype=torch.int32, device=device)
        self.counts = torch.zeros(shape.levels, dtype=torch.int64, device=device)


class GridMoments:
    """Adam's running means of the gradient and of its square, float32 (L, T, F) each."""

    def __init__(self, shape: GridShape, device: torch.device | str = "cpu") -> None:
        self.first = torch.zeros(shape.table_shape, device=device)
        self.second = torch.zeros(shape.table_shape, device=device)


class GridKernels(ABC):
    """The operations on a grid that decide the speed of training and rendering.

    Points are float32 (N, 3) in metres, tables float32 (L, T, F), features are feature-major
    float32 (L * F, N). N may be 0. Everything lies on one device.
    """

    name: str

    def __init__(self, shape: GridShape, threads: int = 2) -> None:
        self.shape, self.threads = shape, threads

    def with_shape(self, shape: GridShape) -> GridKernels:
        """The same kernels for tables of another size (same levels and features)."""
        return self._like(shape, self.threads)

    def with_threads(self, threads: int) -> GridKernels:
        """The same kernels on another number of threads."""
        return self._like(self.shape, threads)

    def _like(self, shape: GridShape, threads: int) -> GridKernels:
        return type(self)(shape, threads)

    @abstractmethod
    def encode(
        self, points: Float[Tensor, "N 3"], table: Float[Tensor, "L T F"]
    ) -> Float[Tensor, "LF N"]:
        """Features of the points: trilinear interpolation on every level."""

    @abstractmethod
    def backward_table(
        self,
        points: Float[Tensor, "N 3"],
        grad_features: Float[Tensor, "LF N"],
        gradient: GridGradient,
    ) -> None:
        """Add the gradient with respect to the table to ``gradient``."""

    @abstractmethod
    def backward_points(
        self,
        points: Float[Tensor, "N 3"],
        table: Float[Tensor, "L T F"],
        grad_features: Float[Tensor, "LF N"],
    ) -> Float[Tensor, "N 3"]:
        """The gradient with respect to the points (one-sided on cell borders)."""

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
        """Adam (Kingma & Ba 2015, algorithm 1) in place, then clear the gradient.

        Elements whose gradient is exactly zero stay as they are, moments included. ``step``
        counts from 1 for the bias correction.
        """
