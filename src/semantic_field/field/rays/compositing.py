"""From signed distances along a ray to weights, composited codes and depths.

The weight of a sample with signed distance s is sigmoid(s / b) sigmoid(-s / b), a bell around
the surface (Azinovic et al. 2022, Neural RGB-D, eq. 3); samples far behind the first surface do
not count. Weights of a ray sum to 1.

``composite`` is written in torch and runs on any device. ``composite_fused`` is the same for the
processor: one compiled loop for each direction, shared out over threads.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numba import njit
from torch import Tensor

from semantic_field.kernels.threads import run_parallel, split

_jit = njit(nogil=True, cache=True, fastmath={"contract", "nsz", "arcp"}, error_model="numpy")


class Composite(NamedTuple):
    """What R rays see: weights (R, S) of their samples, composited codes (G, R), depths (R,).

    Depths are in the unit of the samples' positions. No gradient flows through the weights.
    """

    weights: Float[Tensor, "R S"]
    code: Float[Tensor, "G R"]
    depth: Float[Tensor, " R"]


def composite(
    s: Float[Tensor, " N"],
    codes: Float[Tensor, "G N"],
    z: Float[Tensor, "R S"],
    sharpness: float,
    behind: float,
    codes_shape_geometry: bool = True,
) -> Composite:
    """Composite R rays of S samples each (N = R * S); differentiable in ``s`` and ``codes``.

    Args:
        s: signed distances in truncations, ray by ray.
        codes: geometry codes of the samples.
        z: increasing positions of the samples along their rays.
        sharpness: truncation over the half width of the weights (1 / b).
        behind: how far behind the first surface samples still count, in units of ``z``.
        codes_shape_geometry: whether gradients of the codes move the distances.
    """
    weights = _weights(s.view_as(z), z, sharpness, behind)
    shaping = weights if codes_shape_geometry else weights.detach()
    code = (codes.view(-1, *z.shape) * shaping).sum(2)
    return Composite(weights.detach(), code, (weights * z).sum(1))


def _weights(
    s: Float[Tensor, "R S"], z: Float[Tensor, "R S"], sharpness: float, behind: float
) -> Float[Tensor, "R S"]:
    last = torch.where(s < 0, z, float("inf")).amin(1, keepdim=True) + behind
    scaled = s * sharpness
    bell = torch.sigmoid(scaled) * torch.sigmoid(-scaled) * (z <= last)
    return bell / bell.sum(1, keepdim=True).clamp_min(1e-12)


def composite_fused(
    s: Float[Tensor, " N"],
    codes: Float[Tensor, "G N"],
    z: Float[Tensor, "R S"],
    sharpness: float,
    behind: float,
    codes_shape_geometry: bool = True,
    threads: int = 2,
) -> Composite:
    """See ``composite``; for the processor, on so many threads."""
    results = _Fused.apply(s, codes, z, sharpness, behind, codes_shape_geometry, threads)
    return Composite(*results)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, s, codes, z, sharpness, behind, codes_shape_geometry, threads):
        rays = len(z)
        weights, depth = torch.empty(z.shape), torch.empty(rays)
        code = torch.empty(len(codes), rays)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(weights)
        ctx.arrays = (*_arrays(s, codes, z), np.float32(sharpness))
        ctx.weights, ctx.shape = weights.numpy(), codes_shape_geometry
        ctx.ranges = split(rays, threads)
        arrays = (*ctx.arrays, np.float32(behind), *_arrays(weights, code, depth))
        run_parallel(_forward, [(*arrays, *part) for part in ctx.ranges])
        return weights, code, depth

    @staticmethod
    def backward(ctx, _, code_grad, depth_grad):
        s, codes, z, _ = ctx.arrays
        if code_grad is None:
            code_grad = torch.zeros(len(codes), len(z))
        if depth_grad is None:
            depth_grad = torch.zeros(len(z))
        s_grad, codes_grad = torch.empty(s.shape), torch.empty(codes.shape)
        arrays = (*ctx.arrays, ctx.weights, *_arrays(code_grad, depth_grad, s_grad, codes_grad))
        run_parallel(_backward, [(*arrays, ctx.shape, *part) for part in ctx.ranges])
        return s_grad, codes_grad, None, None, None, None, None


def _arrays(*tensors: Tensor) -> tuple:
    return tuple(tensor.contiguous().numpy() for tensor in tensors)  # gradients are off here


@_jit
def _forward(distance, codes, z, sharpness, behind, weights, code, depth, start, stop):
    """Fill weights (R, S), code (G, R) and depth (R,) of rays ``start`` to ``stop``."""
    samples = z.shape[1]
    one = np.float32(1)
    for r in range(start, stop):
        base, last = r * samples, np.float32(np.inf)
        total = np.float32(0)
        for i in range(samples):
            s = distance[base + i]
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
                value += weights[r, i] * codes[g, base + i]
            code[g, r] = value


@_jit
def _backward(
    distance, codes, z, sharpness, weights, code_grad, depth_grad, distance_grad, codes_grad,
    codes_shape_geometry, start, stop,
):  # fmt: skip
    """Fill the gradients of distances (N,) and codes (G, N) of rays ``start`` to ``stop``."""
    samples = z.shape[1]
    weight_grad = np.empty(samples, np.float32)
    for r in range(start, stop):
        base = r * samples
        for i in range(samples):
            weight_grad[i] = depth_grad[r] * z[r, i]
        for g in range(code_grad.shape[0]):
            value = code_grad[g, r]
            for i in range(samples):
                codes_grad[g, base + i] = weights[r, i] * value
            if codes_shape_geometry:
                for i in range(samples):
                    weight_grad[i] += value * codes[g, base + i]
        mean = np.float32(0)
        for i in range(samples):
            mean += weights[r, i] * weight_grad[i]
        for i in range(samples):
            s = distance[base + i] * sharpness
            # d log(sigmoid(s) sigmoid(-s)) / ds = -tanh(s / 2)
            slope = -np.tanh(np.float32(0.5) * s) * sharpness
            distance_grad[base + i] = weights[r, i] * (weight_grad[i] - mean) * slope
