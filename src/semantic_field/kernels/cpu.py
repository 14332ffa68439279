"""Hash grid kernels for the CPU, compiled by Numba.

Loops are level-major, so that one level's table stays in cache for all points. Points are
processed in batches: a first pass computes and prefetches the eight table rows of each point, a
second pass reads them. In the backward pass each level belongs to one thread: no atomics are
needed, and the result does not depend on the number of threads.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic, reportCallIssue=false
from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numba import njit
from torch import Tensor

from semantic_field.kernels.interface import (
    HASH_CENTRE,
    HASH_PRIMES,
    GridGradient,
    GridKernels,
    GridMoments,
    GridShape,
)
from semantic_field.kernels.numba_support import adam_line, gather, prefetch, project, scatter_add
from semantic_field.kernels.threads import run_parallel, run_shared, split

BATCH = 64
PREFETCH_LINES = 12
CENTRE = np.int32(HASH_CENTRE)
PRIME_Y, PRIME_Z = np.uint32(HASH_PRIMES[1]), np.uint32(HASH_PRIMES[2])
_jit = njit(nogil=True, cache=True, fastmath={"contract", "nsz", "arcp"}, error_model="numpy")


@njit(inline="always")
def _axis(position):
    """On one axis: block coordinates of both vertices, positions in their blocks, and fraction."""
    low = np.floor(position)
    vertex = np.int32(low)
    block, next_block = (vertex >> 1) + CENTRE, ((vertex + 1) >> 1) + CENTRE
    return block, next_block, vertex & 1, (vertex + 1) & 1, position - low


@njit(nogil=True, fastmath=True, error_model="numpy")
def _locate(points, first, count, scale, mask, rows, weights):
    """Table rows int32 (8, B) and weights (8, B) of the corners around ``count`` points."""
    one = np.float32(1)
    for i in range(count):
        n = first + i
        bx0, bx1, lx0, lx1, x = _axis(points[n, 0] * scale)
        by0, by1, ly0, ly1, y = _axis(points[n, 1] * scale)
        bz0, bz1, lz0, lz1, z = _axis(points[n, 2] * scale)
        hx0, hx1 = np.uint32(bx0), np.uint32(bx1)
        hy0, hy1 = np.uint32(by0) * PRIME_Y, np.uint32(by1) * PRIME_Y
        hz0, hz1 = np.uint32(bz0) * PRIME_Z, np.uint32(bz1) * PRIME_Z
        rows[0, i] = np.int32(((hx0 ^ hy0 ^ hz0) & mask) << 3) | lx0 | ly0 << 1 | lz0 << 2
        rows[1, i] = np.int32(((hx1 ^ hy0 ^ hz0) & mask) << 3) | lx1 | ly0 << 1 | lz0 << 2
        rows[2, i] = np.int32(((hx0 ^ hy1 ^ hz0) & mask) << 3) | lx0 | ly1 << 1 | lz0 << 2
        rows[3, i] = np.int32(((hx1 ^ hy1 ^ hz0) & mask) << 3) | lx1 | ly1 << 1 | lz0 << 2
        rows[4, i] = np.int32(((hx0 ^ hy0 ^ hz1) & mask) << 3) | lx0 | ly0 << 1 | lz1 << 2
        rows[5, i] = np.int32(((hx1 ^ hy0 ^ hz1) & mask) << 3) | lx1 | ly0 << 1 | lz1 << 2
        rows[6, i] = np.int32(((hx0 ^ hy1 ^ hz1) & mask) << 3) | lx0 | ly1 << 1 | lz1 << 2
        rows[7, i] = np.int32(((hx1 ^ hy1 ^ hz1) & mask) << 3) | lx1 | ly1 << 1 | lz1 << 2
        yz00, yz10 = (one - y) * (one - z), y * (one - z)
        yz01, yz11 = (one - y) * z, y * z
        weights[0, i], weights[1, i] = (one - x) * yz00, x * yz00
        weights[2, i], weights[3, i] = (one - x) * yz10, x * yz10
        weights[4, i], weights[5, i] = (one - x) * yz01, x * yz01
        weights[6, i], weights[7, i] = (one - x) * yz11, x * yz11


@_jit
def _encode(points, table, scales, masks, out, width, start, stop):
    levels, _, features = table.shape
    rows = np.empty((8, BATCH), np.int32)
    weights = np.empty((8, BATCH), np.float32)
    for level in range(levels):
        entries = table[level]
        for first in range(start, stop, BATCH):
            count = min(BATCH, stop - first)
            _locate(points, first, count, scales[level], masks[level], rows, weights)
            for i in range(count):
                for corner in range(8):
                    prefetch(entries, rows[corner, i])
            for i in range(count):
                gather(entries, rows, weights, i, out, level * features, first + i, width)


@_jit
def _backward_table(points, scales, masks, grad, table_grad, touched, lines, counts, width, level):
    features = table_grad.shape[2]
    rows = np.empty((8, BATCH), np.int32)
    weights = np.empty((8, BATCH), np.float32)
    entries, flags, listed = table_grad[level], touched[level], lines[level]
    count_lines = counts[level]
    row = level * features
    for first in range(0, len(points), BATCH):
        count = min(BATCH, len(points) - first)
        _locate(points, first, count, scales[level], masks[level], rows, weights)
        for i in range(count):
            for corner in range(8):
                prefetch(entries, rows[corner, i])
        for i in range(count):
            largest = np.float32(0)
            for f in range(features):
                largest = max(largest, abs(grad[row + f, first + i]))
            if largest == 0:
                continue
            scatter_add(entries, rows, weights, i, grad, row, first + i, width)
            for corner in range(8):
                line = rows[corner, i] >> 2
                if flags[line] == 0:
                    flags[line] = 1
                    listed[count_lines] = line
                    count_lines += 1
    counts[level] = count_lines


@_jit
def _backward_points(points, table, scales, masks, grad, out, width, start, stop):
    levels, _, features = table.shape
    rows = np.empty((8, BATCH), np.int32)
    weights = np.empty((8, BATCH), np.float32)
    value = np.empty((8, BATCH), np.float32)
    out[start:stop] = 0
    for level in range(levels):
        entries, scale, mask = table[level], scales[level], masks[level]
        for first in range(start, stop, BATCH):
            count = min(BATCH, stop - first)
            _locate(points, first, count, scale, mask, rows, weights)
            for i in range(count):
                for corner in range(8):
                    prefetch(entries, rows[corner, i])
            for i in range(count):
                project(entries, rows, value, i, grad, level * features, first + i, width)
            _slope(points, first, count, scale, value, out)


@njit(nogil=True, fastmath=True, error_model="numpy")
def _slope(points, first, count, scale, value, out):
    """Add the gradient of a trilinear interpolation between ``value`` (8, B)."""
    for i in range(count):
        n = first + i
        x, y, z = points[n, 0] * scale, points[n, 1] * scale, points[n, 2] * scale
        x, y, z = x - np.floor(x), y - np.floor(y), z - np.floor(z)
        x00, x10 = value[1, i] - value[0, i], value[3, i] - value[2, i]
        x01, x11 = value[5, i] - value[4, i], value[7, i] - value[6, i]
        v00, v10 = value[0, i] + x * x00, value[2, i] + x * x10
        v01, v11 = value[4, i] + x * x01, value[6, i] + x * x11
        y0, y1 = v10 - v00, v11 - v01
        low, high = v00 + y * y0, v01 + y * y1
        out[n, 0] += scale * (
            (x00 + y * (x10 - x00)) + z * ((x01 + y * (x11 - x01)) - (x00 + y * (x10 - x00)))
        )
        out[n, 1] += scale * (y0 + z * (y1 - y0))
        out[n, 2] += scale * (high - low)


@_jit
def _adam(table, grad, first, second, touched, lines, counts, rates, width, level):
    lanes = 4 * table.shape[2]
    t, g = table[level].reshape(-1, lanes), grad[level].reshape(-1, lanes)
    m, v = first[level].reshape(-1, lanes), second[level].reshape(-1, lanes)
    listed, count = lines[level], counts[level]
    for i in range(count):
        if i + PREFETCH_LINES < count:
            ahead = listed[i + PREFETCH_LINES]
            prefetch(t, ahead)
            prefetch(g, ahead)
            prefetch(m, ahead)
            prefetch(v, ahead)
        line = listed[i]
        adam_line(t, g, m, v, line, rates, width)
        touched[level, line] = 0
    counts[level] = 0


class CpuKernels(GridKernels):
    """Compiled loops on ``threads`` threads, including the calling one.

    Raises:
        ValueError: with more than 8 features per level.
    """

    name = "cpu"

    def __init__(self, shape: GridShape, threads: int = 2) -> None:
        super().__init__(shape, threads)
        if shape.features > 8:
            raise ValueError(f"expected at most 8 features per level, got {shape.features}")
        self._lattice = (shape.inverse_cells().numpy(), shape.block_masks().numpy().view(np.uint32))
        self._width = (0.0,) * shape.features
        self._levels = range(shape.levels - 1, -1, -1)  # the finest level first: it takes longest

    def encode(
        self, points: Float[Tensor, "N 3"], table: Float[Tensor, "L T F"]
    ) -> Float[Tensor, "LF N"]:
        out = torch.empty(self.shape.encoding_dim, len(points))
        arrays = (_array(points), _array(table), *self._lattice, out.numpy(), self._width)
        ranges = split(len(points), self.threads)
        run_parallel(_encode, [(*arrays, *part) for part in ranges])
        return out

    def backward_table(
        self,
        points: Float[Tensor, "N 3"],
        grad_features: Float[Tensor, "LF N"],
        gradient: GridGradient,
    ) -> None:
        g = gradient
        arrays = (_array(points), *self._lattice, _array(grad_features), _array(g.table))
        book = (_array(g.touched), _array(g.lines), _array(g.counts))
        run_shared(
            _backward_table, self.threads, [(*arrays, *book, self._width, i) for i in self._levels]
        )

    def backward_points(
        self,
        points: Float[Tensor, "N 3"],
        table: Float[Tensor, "L T F"],
        grad_features: Float[Tensor, "LF N"],
    ) -> Float[Tensor, "N 3"]:
        out = torch.empty(len(points), 3)
        grad = _array(grad_features)
        arrays = (_array(points), _array(table), *self._lattice, grad, out.numpy(), self._width)
        ranges = split(len(points), self.threads)
        run_parallel(_backward_points, [(*arrays, *part) for part in ranges])
        return out

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
        corrections = (1.0 - betas[0] ** step, 1.0 - betas[1] ** step)
        rates = (*betas, 1.0 - betas[0], 1.0 - betas[1])
        rates = (*rates, learning_rate / corrections[0], 1.0 / corrections[1], epsilon)
        rates = tuple(np.float32(rate) for rate in rates)
        tensors = (table, gradient.table, moments.first, moments.second)
        book = (gradient.touched, gradient.lines, gradient.counts)
        arrays = tuple(_array(t) for t in (*tensors, *book))
        run_shared(_adam, self.threads, [(*arrays, rates, self._width, i) for i in self._levels])


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()
