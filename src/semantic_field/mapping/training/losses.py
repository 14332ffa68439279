"""What the field is trained for, each as a loss with its gradient.

Distances are in units of the truncation. Losses of samples are means over rays times the mean
over the ray's samples of that kind, so weights do not depend on how many samples a ray has.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numba import njit
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from semantic_field.kernels.threads import run_parallel, split

_jit = njit(nogil=True, cache=True, error_model="numpy")


@_jit
def _near(s, z, depth, stretch, trust, truncation, weight, grad, sums, start, stop):
    samples = z.shape[1]
    total = 0.0
    for r in range(start, stop):
        scale = trust[r] * weight / samples
        for i in range(samples):
            n = r * samples + i
            target = (depth[r] - z[r, i]) * stretch[r] / truncation
            error = s[n] - min(max(target, np.float32(-1)), np.float32(1))
            grad[n] = 2 * scale * error
            total += scale * error * error
    sums[0] = total


@_jit
def _free(s, samples, trust, weight, grad, sums, start, stop):
    total = 0.0
    for r in range(start, stop):
        scale = trust[r] * weight / max(samples, 1)
        for n in range(r * samples, (r + 1) * samples):
            missing = min(s[n] - np.float32(1), np.float32(0))
            grad[n] = 2 * scale * missing
            total += scale * missing * missing
    sums[0] = total


def near_loss(
    s: NDArray[np.float32],
    z: NDArray[np.float32],
    depth: NDArray[np.float32],
    stretch: NDArray[np.float32],
    trust: NDArray[np.float32],
    truncation_m: float,
    weight: float,
    threads: int = 2,
) -> tuple[float, NDArray[np.float32]]:
    """Squared error of the signed distance near the surface, and its gradient (R * S,).

    The target is the distance along the ray to its ``depth`` (R,), between -1 and 1.
    ``trust`` (R,) weighs the rays, 0 leaves a ray out.
    """
    grad, parts = np.empty(z.size, np.float32), split(len(z), threads)
    sums = np.zeros((len(parts), 1))
    scale = np.float32(weight / max(len(z), 1))
    arrays = (s, z, depth, stretch, trust, np.float32(truncation_m), scale, grad)
    run_parallel(_near, [(*arrays, sums[i], *part) for i, part in enumerate(parts)])
    return float(sums.sum()), grad


def free_space_loss(
    s: NDArray[np.float32], trust: NDArray[np.float32], weight: float, threads: int = 2
) -> tuple[float, NDArray[np.float32]]:
    """Square of what signed distances (R * S,) in free space lack to 1; with its gradient."""
    rays, parts = len(trust), split(len(trust), threads)
    grad, sums = np.empty(s.size, np.float32), np.zeros((len(parts), 1))
    arrays = (s, s.size // max(rays, 1), trust, np.float32(weight / max(rays, 1)), grad)
    run_parallel(_free, [(*arrays, sums[i], *part) for i, part in enumerate(parts)])
    return float(sums.sum()), grad


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


def color_loss(
    color: Float[Tensor, "R 3"],
    target: Float[Tensor, "R 3"],
    weight: Float[Tensor, " R"] | None = None,
) -> Float[Tensor, ""]:
    """Mean squared error of the colour in 0..1, each ray with its weight (1 where none is
    given); rays of weight 0 count as zero."""
    each = functional.mse_loss(color, target, reduction="none").mean(1)
    return _weighted(each, weight).sum() / max(len(color), 1)


def label_loss(
    scores: Float[Tensor, "R C"],
    label: Int[Tensor, " R"],
    weight: Float[Tensor, " R"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy of the class rows, each ray with its weight (1 where none is given); rays
    with label -1 (void) count as zero."""
    if scores.shape[1] == 0:
        return scores.sum()
    each = functional.cross_entropy(scores, label, ignore_index=-1, reduction="none")
    return _weighted(each, weight).sum() / max(len(label), 1)


def language_loss(
    latent: Float[Tensor, "R D"],
    label: Int[Tensor, " R"],
    class_latents: Float[Tensor, "C D"],
    rank: int,
    weight: Float[Tensor, " R"] | None = None,
) -> Float[Tensor, ""]:
    """Half the squared distance of the latent's language part to its class name's embedding.

    ``class_latents`` are V'(e - mean): D numbers stand for E. Void rays count as zero, others
    have their weight, 1 where none is given. For unit vectors half the squared distance is
    1 - cosine.
    """
    if rank == 0 or not len(class_latents):
        return latent.sum() * 0.0
    known = _weighted((label >= 0).to(latent.dtype), weight)
    target = class_latents[label.clamp_min(0), :rank]
    error = (latent[:, :rank] - target).square().sum(-1)
    return 0.5 * (error * known).sum() / max(len(label), 1)


def _weighted(each: Float[Tensor, " R"], weight: Float[Tensor, " R"] | None) -> Float[Tensor, " R"]:
    return each if weight is None else each * weight
