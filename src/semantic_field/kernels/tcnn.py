"""Hash grid kernels that use tiny-cuda-nn, if the package ``tinycudann`` is installed.

The grid of tiny-cuda-nn differs from this project's in three ways that the interface cannot hide;
a map trained with it can only be read with the kernels "tcnn":

- it is bounded: a cube of edge ``extent_m`` around the map's origin, with lattices on the unit cube
  (``position = x * scale + 0.5``). Points outside are clamped to the cube's sides;
- coarse lattices that fit are stored densely, x fastest; the finer ones are hashed vertex by vertex
  (Mueller et al. 2022, eq. 4), not by blocks. Coarse levels use only some of their T entries;
- the number of vertices along a side is a whole number, so the coarsest cell size is rounded.

Two implementations: ``TcnnKernels`` calls the package on a GPU; ``TcnnReader`` is plain torch over
the same layout, for reading such a map on a machine without a GPU and as a reference for tests.
"""

# pyright: basic, reportMissingImports=false
from __future__ import annotations

import math
from types import ModuleType

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import functional_call

from semantic_field.kernels.interface import (
    HASH_PRIMES,
    GridGradient,
    GridShape,
)
from semantic_field.kernels.reference import ReferenceKernels


class TcnnLayout:
    """Memory layout of the tiny-cuda-nn grid that is closest to ``shape``.

    Attributes:
        scales: cells along the cube's edge at each level, not whole numbers.
        resolutions: vertices along the edge at each level.
        sizes: entries in use at each level, multiples of 8.

    Raises:
        ValueError: if ``shape`` has no finite extent, or a number of features that tiny-cuda-nn
            does not support.
    """

    def __init__(self, shape: GridShape) -> None:
        extent_m = shape.extent_m
        if shape.features not in (1, 2, 4, 8):
            raise ValueError(
                "expected 1, 2, 4 or 8 features a level for the kernels 'tcnn', got "
                f"{shape.features}; set field.grid.features"
            )
        if not extent_m < math.inf:
            raise ValueError(
                f"expected a bounded grid for the kernels 'tcnn', got one of {extent_m} m; "
                "set field.grid.tcnn_extent_m"
            )
        self.shape, self.extent_m = shape, extent_m
        self.base = max(round(extent_m / shape.cells_m[0]) + 1, 2)
        finest = extent_m / shape.cells_m[-1] + 1.0
        self.growth = (finest / self.base) ** (1.0 / max(shape.levels - 1, 1))
        steps = range(shape.levels)
        self.scales = [2.0 ** (i * math.log2(self.growth)) * self.base - 1.0 for i in steps]
        self.resolutions = [math.ceil(scale) + 1 for scale in self.scales]
        self.sizes = [min(-(-(r**3) // 8) * 8, shape.table_size) for r in self.resolutions]

    def encoding_config(self) -> dict[str, object]:
        """Return the settings of a ``tinycudann.Encoding`` with this layout."""
        return {
            "otype": "Grid",
            "type": "Hash",
            "n_levels": self.shape.levels,
            "n_features_per_level": self.shape.features,
            "log2_hashmap_size": self.shape.table_size.bit_length() - 1,
            "base_resolution": self.base,
            "per_level_scale": self.growth,
            "interpolation": "Linear",
        }

    def unit(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Map points (metres) to the unit cube; points outside are clamped."""
        return (points / self.extent_m + 0.5).clamp(0.0, 1.0)

    def packed(self, table: Float[Tensor, "L T F"]) -> Float[Tensor, " P"]:
        """Return the parameter vector of tiny-cuda-nn for a table."""
        return torch.cat([rows[:n].flatten() for rows, n in zip(table, self.sizes, strict=True)])

    def unpacked(self, packed: Float[Tensor, " P"]) -> list[Float[Tensor, "T F"]]:
        """Return views of a parameter vector: the entries in use of each level."""
        features = self.shape.features
        parts = packed.split([n * features for n in self.sizes])
        return [part.view(-1, features) for part in parts]

    def vertex_index(self, vertex: Int[Tensor, "... 3"], level: int) -> Int[Tensor, "..."]:
        """Return the entry of a vertex (coordinates >= 0): dense if the level fits, else hashed."""
        size, side = self.sizes[level], self.resolutions[level]
        x, y, z = vertex.unbind(-1)
        if side**3 <= size:
            return (x + y * side + z * side * side) % size
        _, second, third = HASH_PRIMES
        return ((x ^ (y * second) ^ (z * third)) & 0xFFFFFFFF) % size


class TcnnReader(ReferenceKernels):
    """Kernels for tiny-cuda-nn's layout in plain torch, on any device."""

    name = "tcnn"
    grows = False  # growth could turn a hashed level into a dense one

    def __init__(self, shape: GridShape, threads: int = 2) -> None:
        super().__init__(shape, threads)
        self.layout = TcnnLayout(shape)

    def _corners(
        self, points: Float[Tensor, "N 3"]
    ) -> tuple[Int[Tensor, "L N 8"], Float[Tensor, "L N 3"]]:
        layout = self.layout
        scales = torch.tensor(layout.scales, device=points.device)
        place = layout.unit(points) * scales[:, None, None] + 0.5
        lowest = place.floor()
        corner = torch.arange(8, device=points.device)
        offsets = torch.stack([corner & 1, corner >> 1 & 1, corner >> 2], dim=-1)
        vertices = lowest.detach().long()[:, :, None] + offsets
        indices = [layout.vertex_index(v, level) for level, v in enumerate(vertices)]
        return torch.stack(indices), place - lowest.detach()


class TcnnKernels(TcnnReader):
    """Kernels that call ``tinycudann.Encoding`` on a GPU.

    The table is packed into its parameter vector for every call (one copy, in addition to the
    package's own conversion to float16). The optimiser is this project's.

    Raises:
        ValueError: if the package cannot be imported, or its grid has another layout.
    """

    def __init__(
        self, shape: GridShape, threads: int = 2, device: torch.device | str = "cuda"
    ) -> None:
        super().__init__(shape, threads)
        self._encoding = _tinycudann().Encoding(3, self.layout.encoding_config()).to(device)
        expected = sum(self.layout.sizes) * shape.features
        found = self._encoding.params.numel()
        if found != expected:
            raise ValueError(
                f"expected a grid of {expected} parameters from tinycudann, got {found}: this "
                "version lays its grid out in another way; set field.grid.kernels to 'auto'"
            )

    @property
    def device(self) -> torch.device:
        """Where the package computes; points and tables have to be there."""
        return self._encoding.params.device

    def _like(self, shape: GridShape, threads: int) -> TcnnKernels:
        return TcnnKernels(shape, threads, self.device)

    def encode(
        self, points: Float[Tensor, "N 3"], table: Float[Tensor, "L T F"]
    ) -> Float[Tensor, "LF N"]:
        with torch.no_grad():
            return self._features(points, self.layout.packed(table))

    def backward_table(
        self,
        points: Float[Tensor, "N 3"],
        grad_features: Float[Tensor, "LF N"],
        gradient: GridGradient,
    ) -> None:
        packed = torch.zeros_like(self._encoding.params, requires_grad=True)
        with torch.enable_grad():
            features = self._features(points.detach(), packed)
        found = torch.autograd.grad(features, packed, grad_features)[0]
        for level, part in enumerate(self.layout.unpacked(found)):
            gradient.table[level, : len(part)] += part
        lines = gradient.table.view(*gradient.touched.shape, -1)
        gradient.touched.copy_((lines != 0).any(-1))

    def backward_points(
        self,
        points: Float[Tensor, "N 3"],
        table: Float[Tensor, "L T F"],
        grad_features: Float[Tensor, "LF N"],
    ) -> Float[Tensor, "N 3"]:
        with torch.enable_grad():
            points = points.detach().requires_grad_()
            features = self._features(points, self.layout.packed(table.detach()))
        return torch.autograd.grad(features, points, grad_features)[0]

    def _features(
        self, points: Float[Tensor, "N 3"], packed: Float[Tensor, " P"]
    ) -> Float[Tensor, "LF N"]:
        """Return feature-major features, differentiable in both arguments."""
        if not len(points):
            return points.sum() * packed[:1].sum() + packed.new_zeros(self.shape.encoding_dim, 0)
        unit = self.layout.unit(points)
        return functional_call(self._encoding, {"params": packed}, (unit,)).float().T.contiguous()


def _tinycudann() -> ModuleType:
    """Import the package; ValueError on failure (without a GPU it raises EnvironmentError)."""
    try:
        import tinycudann
    except (ImportError, OSError) as error:
        raise ValueError(
            f"expected the package tinycudann for the kernels 'tcnn', got {error}; build it from "
            "https://github.com/NVlabs/tiny-cuda-nn (bindings/torch), or set field.grid.kernels "
            "to 'auto'"
        ) from error
    return tinycudann
