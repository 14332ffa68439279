"""Hash grid kernels for NVIDIA GPUs, which launch the Triton functions of ``triton_grid``.

Tables and gradients may be float32 or float16; arithmetic, master table and moments are float32.
Atomic additions have no fixed order: gradients are reproducible only up to rounding.

No function here synchronises with the GPU, and with ``out`` given none allocates memory: after a
first step, which compiles, a step can be captured in a CUDA graph. Values that change from step to
step (learning rate, bias corrections) are kept in device memory; see ``CudaKernels.set_rates``.
Importing this module needs Triton, which comes with the CUDA builds of torch.
"""

# pyright: basic, reportMissingImports=false, reportIndexIssue=false, reportArgumentType=false
from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from semantic_field.kernels import triton_grid
from semantic_field.kernels.interface import (
    VERTICES_PER_LINE,
    GridGradient,
    GridKernels,
    GridMoments,
    GridShape,
    power_of_two,
)

BLOCK = 128  # points per program
LINES = 64  # table lines per optimiser program
RATES = 7


class CudaKernels(GridKernels):
    """Triton kernels on one GPU.

    Beyond the interface, ``table`` may be a float16 working copy for ``encode`` and
    ``backward_points``, the gradient may be float16 (see ``GridGradient``), features and their
    gradients may have any floating type, and results can be written to given tensors. Only the
    ``touched`` flags of a ``GridGradient`` are used, not its lists: a GPU scans flags faster.

    Args:
        device: of all tensors. Under Triton's interpreter this may be the CPU.
    """

    name = "cuda"
    half = capturable = True

    def __init__(
        self, shape: GridShape, threads: int = 2, device: torch.device | str = "cuda"
    ) -> None:
        super().__init__(shape, threads)
        self._lattice = (shape.inverse_cells(device), shape.block_masks(device))
        self._rates = torch.zeros(RATES, device=device)
        padded = power_of_two(shape.features)
        self._sizes = {"size": shape.table_size, "features": shape.features, "padded": padded}

    def _like(self, shape: GridShape, threads: int) -> CudaKernels:
        return CudaKernels(shape, threads, self._rates.device)

    def _grid(self, n: int) -> tuple[int, int]:
        return _ceil_div(n, BLOCK), self.shape.levels

    def encode(
        self,
        points: Float[Tensor, "N 3"],
        table: Float[Tensor, "L T F"],
        out: Float[Tensor, "LF N"] | None = None,
    ) -> Float[Tensor, "LF N"]:
        n = len(points)
        if out is None:
            out = torch.empty(self.shape.encoding_dim, n, device=points.device)
        assert out.is_contiguous()
        if n:
            with torch.cuda.device_of(points):
                triton_grid.encode[self._grid(n)](
                    _flat(points), _flat(table), *self._lattice, out, n, **self._sizes, block=BLOCK
                )
        return out

    def backward_table(
        self,
        points: Float[Tensor, "N 3"],
        grad_features: Float[Tensor, "LF N"],
        gradient: GridGradient,
    ) -> None:
        n = len(points)
        if n:
            operands = (_flat(points), *self._lattice, _flat(grad_features))
            targets = (gradient.table, gradient.touched)
            with torch.cuda.device_of(points):
                triton_grid.backward_table[self._grid(n)](
                    *operands, *targets, n, gradient.scale, **self._sizes, block=BLOCK
                )

    def backward_points(
        self,
        points: Float[Tensor, "N 3"],
        table: Float[Tensor, "L T F"],
        grad_features: Float[Tensor, "LF N"],
        out: Float[Tensor, "N 3"] | None = None,
    ) -> Float[Tensor, "N 3"]:
        n = len(points)
        if out is None:
            out = torch.empty(n, 3, device=points.device)
        assert out.is_contiguous()
        if n:
            arrays = (_flat(points), _flat(table), *self._lattice, _flat(grad_features), out)
            with torch.cuda.device_of(points):
                triton_grid.backward_points[(_ceil_div(n, BLOCK),)](
                    *arrays, n, levels=self.shape.levels, **self._sizes, block=BLOCK
                )
        return out

    def set_rates(
        self,
        step: int,
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.99),
        epsilon: float = 1e-15,
    ) -> None:
        """Write learning rate and bias corrections for the next ``apply_adam`` to device memory.

        Call it outside the captured CUDA graph, before every replay.
        """
        corrections = (1.0 - betas[0] ** step, 1.0 - betas[1] ** step)
        values = (*betas, 1.0 - betas[0], 1.0 - betas[1])
        values = (*values, learning_rate / corrections[0], 1.0 / corrections[1], epsilon)
        with torch.cuda.device_of(self._rates):
            triton_grid.set_rates[(1,)](self._rates, *values)

    def apply_adam(
        self,
        table: Float[Tensor, "L T F"],
        gradient: GridGradient,
        moments: GridMoments,
        working: Float[Tensor, "L T F"] | None = None,
    ) -> None:
        """Apply Adam with the rates set last, then clear the gradient.

        ``working`` (any floating type) is a copy of the table that is updated with it.
        """
        assert table.is_contiguous() and table.dtype == torch.float32
        lanes = VERTICES_PER_LINE * self.shape.features
        tables = (table, table if working is None else working, gradient.table)
        arrays = (*tables, moments.first, moments.second, gradient.touched, self._rates)
        number = gradient.touched.numel()
        with torch.cuda.device_of(table):
            triton_grid.adam[(_ceil_div(number, LINES),)](
                *arrays, 1.0 / gradient.scale, number, has_working=working is not None,
                is_half=gradient.table.dtype == torch.float16, lanes=lanes,
                padded=power_of_two(lanes), block=LINES,
            )  # fmt: skip

    def adam_step(
        self,
        table: Float[Tensor, "L T F"],
        gradient: GridGradient,
        moments: GridMoments,
        step: int,
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.99),
        epsilon: float = 1e-15,
        working: Float[Tensor, "L T F"] | None = None,
    ) -> None:
        self.set_rates(step, learning_rate, betas, epsilon)
        self.apply_adam(table, gradient, moments, working)


def _ceil_div(n: int, block: int) -> int:
    return -(-n // block)


def _flat(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous()
