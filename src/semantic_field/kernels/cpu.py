"""The grid kernels for the CPU, compiled by Numba.

Loops are level-major, so that one level's table stays in cache while all points pass. Points go
in batches: a first pass computes the eight table rows of each point and prefetches them, a second
one reads them. In the backward pass one thread owns a level: no atomics, and the result does not
depend on the number of threads.
"""

# Compiled functions carry no annotations: Numba infers their types.
# ruff: noqa: ANN001, ANN202
# pyright: basic
from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numba import njit
from torch import Tensor

from semantic_field.kernels.interface import GridGradient, GridKernels, GridMoments, GridShape
from semantic_field.kernels.numba_support import block_start, prefetch
from semantic_field.kernels.threads import run_parallel, split

BATCH = 32
_jit = njit(nogil=True, cache=True, fastmath={"contract", "nsz", "arcp"}, error_model="numpy")


@njit(inline="always")
def _locate(points, n, scale, mask, rows, fraction, slot):
    """The eight table rows around point ``n`` and its position within the cell."""
    x, y, z = points[n, 0] * scale, points[n, 1] * scale, points[n, 2] * scale
    fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
    fraction[0, slot], fraction[1, slot], fraction[2, slot] = x - fx, y - fy, z - fz
    ix, iy, iz = np.int32(fx), np.int32(fy), np.int32(fz)
    for corner in range(8):
        cx, cy, cz = ix + (corner & 1), iy + ((corner >> 1) & 1), iz + (corner >> 2)
        local = (cx & 1) | ((cy & 1) << 1) | ((cz & 1) << 2)
        rows[slot, corner] = block_start(cx >> 1, cy >> 1, cz >> 1, mask) | np.int32(local)


@njit(inline="always")
def _weight(fraction, slot, corner):
    x, y, z = fraction[0, slot], fraction[1, slot], fraction[2, slot]
    wx = x if corner & 1 else np.float32(1) - x
    wy = y if corner & 2 else np.float32(1) - y
    wz = z if corner & 4 else np.float32(1) - z
    return wx * wy * wz


@_jit
def _encode(points, table, scales, out, start, stop):
    levels, size, features = table.shape
    mask = np.uint32(size // 8 - 1)
    rows = np.empty((BATCH, 8), np.int32)
    fraction = np.empty((3, BATCH), np.float32)
    value = np.empty(8, np.float32)
    for level in range(levels):
        entries = table[level]
        for first in range(start, stop, BATCH):
            count = min(BATCH, stop - first)
            for slot in range(count):
                _locate(points, first + slot, scales[level], mask, rows, fraction, slot)
                for corner in range(8):
                    prefetch(entries, rows[slot, corner])
            for slot in range(count):
                for f in range(features):
                    value[f] = 0
                for corner in range(8):
                    weight = _weight(fraction, slot, corner)
                    row = rows[slot, corner]
                    for f in range(features):
                        value[f] += weight * entries[row, f]
                for f in range(features):
                    out[level * features + f, first + slot] = value[f]


@_jit
def _backward_table(points, scales, grad, table_grad, touched, lines, counts, first_level, stride):
    levels, size, features = table_grad.shape
    mask = np.uint32(size // 8 - 1)
    rows = np.empty((BATCH, 8), np.int32)
    fraction = np.empty((3, BATCH), np.float32)
    value = np.empty(8, np.float32)
    for level in range(first_level, levels, stride):
        entries, flags, listed = table_grad[level], touched[level], lines[level]
        count_lines = counts[level]
        for first in range(0, len(points), BATCH):
            count = min(BATCH, len(points) - first)
            for slot in range(count):
                _locate(points, first + slot, scales[level], mask, rows, fraction, slot)
                for corner in range(8):
                    prefetch(entries, rows[slot, corner])
            for slot in range(count):
                largest = np.float32(0)
                for f in range(features):
                    value[f] = grad[level * features + f, first + slot]
                    largest = max(largest, abs(value[f]))
                if largest == 0:
                    continue
                for corner in range(8):
                    weight = _weight(fraction, slot, corner)
                    row = rows[slot, corner]
                    for f in range(features):
                        entries[row, f] += weight * value[f]
                    line = row >> 2
                    if flags[line] == 0:
                        flags[line] = 1
                        listed[count_lines] = line
                        count_lines += 1
        counts[level] = count_lines


@_jit
def _backward_points(points, table, scales, grad, out, start, stop):
    levels, size, features = table.shape
    mask = np.uint32(size // 8 - 1)
    rows = np.empty((1, 8), np.int32)
    fraction = np.empty((3, 1), np.float32)
    one = np.float32(1)
    for n in range(start, stop):
        gx = gy = gz = np.float32(0)
        for level in range(levels):
            _locate(points, n, scales[level], mask, rows, fraction, 0)
            x, y, z = fraction[0, 0], fraction[1, 0], fraction[2, 0]
            for corner in range(8):
                value = np.float32(0)
                for f in range(features):
                    value += grad[level * features + f, n] * table[level, rows[0, corner], f]
                value *= scales[level]
                wx = x if corner & 1 else one - x
                wy = y if corner & 2 else one - y
                wz = z if corner & 4 else one - z
                gx += value * wy * wz * (one if corner & 1 else -one)
                gy += value * wx * wz * (one if corner & 2 else -one)
                gz += value * wx * wy * (one if corner & 4 else -one)
        out[n, 0], out[n, 1], out[n, 2] = gx, gy, gz


@_jit
def _adam(table, grad, first, second, touched, lines, counts, rates, first_level, stride):
    """``rates``: beta1, beta2, learning rate / bias correction 1, bias correction 2, epsilon."""
    beta1, beta2, rate, correction, epsilon = rates
    one = np.float32(1)
    levels = table.shape[0]
    width = 4 * table.shape[2]
    for level in range(first_level, levels, stride):
        t, g = table[level].reshape(-1, width), grad[level].reshape(-1, width)
        m, v = first[level].reshape(-1, width), second[level].reshape(-1, width)
        listed, count = lines[level], counts[level]
        for i in range(count):
            if i + 8 < count:
                ahead = listed[i + 8]
                prefetch(t, ahead)
                prefetch(g, ahead)
                prefetch(m, ahead)
                prefetch(v, ahead)
            line = listed[i]
            for k in range(width):
                value = g[line, k]
                mean = beta1 * m[line, k] + (one - beta1) * value
                square = beta2 * v[line, k] + (one - beta2) * value * value
                moved = value != 0
                change = rate * mean / (np.sqrt(square * correction) + epsilon)
                m[line, k] = mean if moved else m[line, k]
                v[line, k] = square if moved else v[line, k]
                t[line, k] -= change if moved else np.float32(0)
                g[line, k] = 0
            touched[level, line] = 0
        counts[level] = 0


class CpuKernels(GridKernels):
    """Compiled loops on ``threads`` threads, the calling one included."""

    name = "cpu"

    def __init__(self, shape: GridShape, threads: int = 2) -> None:
        super().__init__(shape)
        if shape.features > 8:
            raise ValueError(f"expected at most 8 features per level, got {shape.features}")
        self._threads = threads
        self._scales = shape.inverse_cells().numpy()

    def encode(
        self, points: Float[Tensor, "N 3"], table: Float[Tensor, "L T F"]
    ) -> Float[Tensor, "LF N"]:
        out = torch.empty(self.shape.encoding_dim, len(points))
        arrays = (_array(points), _array(table), self._scales, out.numpy())
        ranges = split(len(points), self._threads)
        run_parallel(_encode, [(*arrays, *part) for part in ranges])
        return out

    def backward_table(
        self,
        points: Float[Tensor, "N 3"],
        grad_features: Float[Tensor, "LF N"],
        gradient: GridGradient,
    ) -> None:
        g = gradient
        arrays = (_array(points), self._scales, _array(grad_features), _array(g.table))
        book = (_array(g.touched), _array(g.lines), _array(g.counts))
        run_parallel(_backward_table, [(*arrays, *book, *part) for part in self._levels()])

    def backward_points(
        self,
        points: Float[Tensor, "N 3"],
        table: Float[Tensor, "L T F"],
        grad_features: Float[Tensor, "LF N"],
    ) -> Float[Tensor, "N 3"]:
        out = torch.empty(len(points), 3)
        arrays = (_array(points), _array(table), self._scales, _array(grad_features), out.numpy())
        ranges = split(len(points), self._threads)
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
        rates = (*betas, learning_rate / corrections[0], 1.0 / corrections[1], epsilon)
        rates = tuple(np.float32(rate) for rate in rates)
        tensors = (table, gradient.table, moments.first, moments.second)
        book = (gradient.touched, gradient.lines, gradient.counts)
        arrays = tuple(_array(t) for t in (*tensors, *book))
        run_parallel(_adam, [(*arrays, rates, *part) for part in self._levels()])

    def _levels(self) -> list[tuple[int, int]]:
        """(first level, stride) of each thread: coarse and fine levels are dealt out in turn."""
        return [(first, self._threads) for first in range(min(self._threads, self.shape.levels))]


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()
