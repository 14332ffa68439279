"""From signed distances along a ray to weights, composited codes and depths, and back.

The weight of a sample with signed distance s is sigmoid(s / b) sigmoid(-s / b), a bell around
the surface (Azinovic et al. 2022, Neural RGB-D, eq. 3); samples behind the first surface do not
count. Weights of a ray sum to 1.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.kernels.threads import run_parallel, split

_jit = njit(nogil=True, cache=True, fastmath={"contract", "nsz", "arcp"}, error_model="numpy")


@_jit
def _forward(out, z, sharpness, behind, weights, code, depth, start, stop):
    """Fill weights (R, S), code (G, R) and depth (R,) of rays ``start`` to ``stop``."""
    samples = z.shape[1]
    one = np.float32(1)
    for r in range(start, stop):
        base, last = r * samples, np.float32(np.inf)
        total = np.float32(0)
        for i in range(samples):
            s = out[0, base + i]
            if s < 0 and last == np.inf:
                last = z[r, i] + behind
            e = np.exp(-abs(s) * sharpness)
            w = e / ((one + e) * (one + e)) if z[r, i] <= last else np.float32(0)
            weights[r, i] = w
            total += w
        total = max(total, np.float32(1e-12))
        mean = np.float32(0)
        for i in range(samples):
            weights[r, i] /= total
            mean += weights[r, i] * z[r, i]
        depth[r] = mean
        for g in range(code.shape[0]):
            value = np.float32(0)
            for i in range(samples):
                value += weights[r, i] * out[1 + g, base + i]
            code[g, r] = value


@_jit
def _backward(out, z, sharpness, weights, code_grad, depth_grad, out_grad, shape, start, stop):
    """Add to out_grad[0]; fill out_grad[1:]. ``shape``: let codes move the distances."""
    samples = z.shape[1]
    for r in range(start, stop):
        base = r * samples
        weight_grad = np.zeros(samples, np.float32)
        for i in range(samples):
            weight_grad[i] = depth_grad[r] * z[r, i]
        for g in range(code_grad.shape[0]):
            value = code_grad[g, r]
            for i in range(samples):
                out_grad[1 + g, base + i] = weights[r, i] * value
            if shape:
                for i in range(samples):
                    weight_grad[i] += value * out[1 + g, base + i]
        mean = np.float32(0)
        for i in range(samples):
            mean += weights[r, i] * weight_grad[i]
        for i in range(samples):
            s = out[0, base + i] * sharpness
            # d log(sigmoid(s) sigmoid(-s)) / ds = -tanh(s / 2)
            slope = -np.tanh(np.float32(0.5) * s) * sharpness
            out_grad[0, base + i] += weights[r, i] * (weight_grad[i] - mean) * slope


class Composite:
    """One compositing pass: the forward results, and the backward pass that belongs to them.

    Args:
        out: trunk output, float32 (1 + G, R * S): signed distance in truncations, then code.
        z: increasing positions of the samples along their rays, float32 (R, S).
        sharpness: truncation over the half width of the weights (1 / b).
        behind: how far behind the first surface samples still count, in units of ``z``.
    Attributes:
        weights: (R, S). code: (G, R). depth: (R,), the weighted mean of ``z``.
    """

    def __init__(
        self,
        out: Float[Tensor, "O N"],
        z: NDArray[np.float32],
        sharpness: float,
        behind: float,
        threads: int = 2,
    ) -> None:
        rays, samples = z.shape
        self._out, self._z = out.numpy(), z
        self._sharpness = np.float32(sharpness)
        self._ranges = split(rays, threads)
        self.weights = np.empty((rays, samples), np.float32)
        self.code = torch.empty(out.shape[0] - 1, rays)
        self.depth = np.empty(rays, np.float32)
        results = (self.weights, self.code.numpy(), self.depth)
        arrays = (self._out, z, self._sharpness, np.float32(behind), *results)
        run_parallel(_forward, [(*arrays, *part) for part in self._ranges])

    def backward(
        self,
        code_grad: Float[Tensor, "G R"],
        depth_grad: NDArray[np.float32],
        out_grad: Float[Tensor, "O N"],
        codes_shape_geometry: bool,
    ) -> None:
        """Complete ``out_grad``, whose first row already holds the distances' own gradient."""
        arrays = (self._out, self._z, self._sharpness, self.weights, code_grad.numpy())
        targets = (depth_grad, out_grad.numpy(), codes_shape_geometry)
        run_parallel(_backward, [(*arrays, *targets, *part) for part in self._ranges])
