"""What the field is trained for, each as a loss with its gradient.

Distances are in units of the truncation. Losses of samples are means over rays times the mean
over the ray's samples of that kind, so weights do not depend on how many samples a ray has.
"""

# Compiled functions carry no annotations: Numba infers their types.
# ruff: noqa: ANN001, ANN202
# pyright: basic
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numba import njit
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from semantic_field.kernels.threads import run_parallel, split

_jit = njit(nogil=True, cache=True, error_model="numpy")


@_jit
def _distance_losses(s, z, depth, stretch, trust, truncation, weights, grad, sums, start, stop):
    """Gradient (R * S,) of both distance losses; their values go to sums[start's share]."""
    near_weight, free_weight, behind = weights
    samples = z.shape[1]
    near_sum = free_sum = 0.0
    for r in range(start, stop):
        if trust[r] == 0:
            for i in range(samples):
                grad[r * samples + i] = 0
            continue
        near = free = 0
        for i in range(samples):
            target = (depth[r] - z[r, i]) * stretch[r] / truncation
            if target > 1:
                free += 1
            elif target >= behind:
                near += 1
        near_scale = trust[r] * near_weight / max(near, 1)
        free_scale = trust[r] * free_weight / max(free, 1)
        for i in range(samples):
            n = r * samples + i
            target = (depth[r] - z[r, i]) * stretch[r] / truncation
            grad[n] = 0
            if target > 1:
                missing = min(s[n] - np.float32(1), np.float32(0))
                grad[n] = 2 * free_scale * missing
                free_sum += free_scale * missing * missing
            elif target >= behind:
                error = s[n] - target
                grad[n] = 2 * near_scale * error
                near_sum += near_scale * error * error
    sums[0], sums[1] = near_sum, free_sum


def distance_losses(
    s: NDArray[np.float32],
    z: NDArray[np.float32],
    depth: NDArray[np.float32],
    stretch: NDArray[np.float32],
    trust: NDArray[np.float32],
    truncation_m: float,
    near_weight: float,
    free_weight: float,
    threads: int = 2,
) -> tuple[float, float, NDArray[np.float32]]:
    """Weighted near-surface and free-space loss, and the gradient (R * S,) of their sum.

    Near the surface (within the truncation of the ray's depth) the signed distance shall be the
    distance along the ray; farther in front it shall be at least the truncation; nothing is said
    about space behind. ``trust`` (R,) weighs the rays, 0 leaves a ray out.
    """
    rays = len(z)
    grad = np.empty(z.size, np.float32)
    parts = split(rays, threads)
    sums = np.zeros((len(parts), 2))
    scale = 1.0 / max(rays, 1)
    weights = tuple(np.float32(w) for w in (near_weight * scale, free_weight * scale, -1.0))
    arrays = (s, z, depth, stretch, trust, np.float32(truncation_m), weights, grad)
    shares = [(*arrays, sums[i], *part) for i, part in enumerate(parts)]
    run_parallel(_distance_losses, shares)
    return float(sums[:, 0].sum()), float(sums[:, 1].sum()), grad


def depth_loss(
    rendered: NDArray[np.float32],
    depth: NDArray[np.float32],
    stretch: NDArray[np.float32],
    trust: NDArray[np.float32],
    truncation_m: float,
    weight: float,
) -> tuple[float, NDArray[np.float32]]:
    """Smooth L1 of the rendered depth against the reading, in truncations; with its gradient."""
    scale = stretch / truncation_m
    error = (rendered - depth) * scale
    share = weight * trust / max(len(depth), 1)
    small = np.abs(error) < 1
    value = np.where(small, 0.5 * error * error, np.abs(error) - 0.5)
    slope = np.where(small, error, np.sign(error))
    return float((share * value).sum()), (share * slope * scale).astype(np.float32)


@dataclass(frozen=True)
class HeadWeights:
    """Weights of the losses of the heads."""

    color: float
    label: float
    language: float


def color_loss(
    color: Float[Tensor, "R 3"], target: Float[Tensor, "R 3"]
) -> Float[Tensor, ""]:
    """Mean squared error of the colour in 0..1."""
    return functional.mse_loss(color, target)


def label_loss(scores: Float[Tensor, "R C"], label: Int[Tensor, " R"]) -> Float[Tensor, ""]:
    """Cross-entropy of the class rows; rays with label -1 (void) count as zero."""
    if scores.shape[1] == 0:
        return scores.sum()
    total = functional.cross_entropy(scores, label, ignore_index=-1, reduction="sum")
    return total / max(len(label), 1)


def language_loss(
    latent: Float[Tensor, "R D"],
    label: Int[Tensor, " R"],
    class_latents: Float[Tensor, "C D"],
    rank: int,
) -> Float[Tensor, ""]:
    """Half the squared distance of the latent's language part to its class name's embedding.

    ``class_latents`` are V'(e - mean): D numbers stand for E. Void rays count as zero. For unit
    vectors half the squared distance is 1 - cosine.
    """
    if rank == 0:
        return latent.sum() * 0.0
    known = (label >= 0).float()
    target = class_latents[label.clamp_min(0), :rank]
    error = (latent[:, :rank] - target).square().sum(-1)
    return 0.5 * (error * known).sum() / max(len(label), 1)
