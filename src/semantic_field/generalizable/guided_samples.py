"""Samples along target rays: spread over the bounds, around the target depth, and exactly at it.

With many samples they are divided as GSNeRF (Chou et al. 2024) has it: of 128, 96 uniform between
the bounds, 31 drawn from N(D_T, 0.5 m) and one exactly at D_T. With few, none is uniform: the
target depth, the next surface behind it (which is what a ray shows where the target depth is
wrong at an edge), and the rest around the target depth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import max_pool2d

from semantic_field.generalizable.source_images import TargetRays

WINDOW = 7  # pixels, about each pixel, whose surfaces may be its own
JUMP_M, JUMP_SHARE = 0.05, 0.03  # depths that differ by less count as one surface
FEW = 8  # up to here no sample is spread uniformly
PAPER_AROUND, PAPER_OTHERS = 31, 127


class GuidedSamples(NamedTuple):
    """S samples of each of h x w rays, from near to far.

    Attributes:
        depths: float32 (h, w, S), z-depth in the target, metres.
        exact: bool (h, w, S), true at the one sample that is at the target depth; nowhere on rays
            whose target depth is unknown.
    """

    depths: Float[Tensor, "h w S"]
    exact: Bool[Tensor, "h w S"]

    @property
    def known(self) -> Bool[Tensor, "h w"]:
        """Whether the target depth of the ray is known."""
        return self.exact.any(-1)


@dataclass(frozen=True)
class SampleCounts:
    """How many samples of each kind a ray has, beside the one at the target depth.

    Attributes:
        uniform: spread over the bounds.
        around: drawn from a normal distribution about the target depth.
        behind: at the next surface behind it; midway to the far bound where none is known.
    """

    uniform: int
    around: int
    behind: int = 0

    @property
    def total(self) -> int:
        """All samples of a ray."""
        return 1 + self.uniform + self.around + self.behind


def sample_counts(total: int) -> SampleCounts:
    """Divide N samples as described above.

    Raises:
        ValueError: if N is not 1 to 128.
    """
    if not 1 <= total <= 128:
        raise ValueError(f"expected 1 to 128 samples on a ray, got {total}: set samples to 4, say")
    if total <= FEW:
        behind = min(1, total - 1)
        return SampleCounts(0, total - 1 - behind, behind)
    around = round((total - 1) * PAPER_AROUND / PAPER_OTHERS)
    return SampleCounts(total - 1 - around, around)


def surface_samples(rays: TargetRays, total: int) -> GuidedSamples:
    """Place up to 4 samples, all at surfaces that the sources' depths show.

    They are at the target depth, at the next surface behind it, and at the nearest and the
    farthest target depth in a window about the pixel, which differ at silhouettes: there the
    target depth may be that of the wrong side. Where one is not known, or is the same surface as
    one before it, its depth is 0: no sample.
    """
    depth = rays.depth.detach()
    near, far = _around_pixel(depth)
    columns = [depth]
    for other in (rays.behind.detach(), near, far)[: total - 1]:
        same = [(other - one).abs() <= JUMP_M + JUMP_SHARE * one for one in columns]
        columns.append(torch.where(torch.stack(same).any(0), 0.0, other))
    exact = torch.zeros(*depth.shape, total, dtype=torch.bool, device=depth.device)
    exact[..., 0] = depth > 0
    return GuidedSamples(torch.stack(columns, -1), exact)


def _around_pixel(
    depth: Float[Tensor, "h w"],
) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """Return the nearest and the farthest depth in a window about each pixel; 0 if all are 0."""
    farthest = max_pool2d(depth[None], WINDOW, 1, WINDOW // 2)[0]
    inverse = torch.where(depth > 0, 1 / depth.clamp(min=1e-6), 0.0)
    most = max_pool2d(inverse[None], WINDOW, 1, WINDOW // 2)[0]
    return torch.where(most > 0, 1 / most.clamp(min=1e-6), 0.0), farthest


def guided_samples(
    rays: TargetRays, counts: SampleCounts, spread_m: float = 0.5, jitter: bool = False
) -> GuidedSamples:
    """Place samples on rays; rays without a target depth get uniform ones only.

    Args:
        spread_m: standard deviation of the samples around the target depth, metres.
        jitter: draw at random with torch's own generator (training): uniform ones each in its
            bin, the others from the normal distribution. Otherwise these are at the middles of
            the bins and at the quantiles (i + 1/2) / n. Both are clamped to the rays' bounds;
            the target depth and the surface behind it are taken as they are.

    Returns:
        Samples; neither they nor their order carries gradients to the target depth.
    """
    depth = rays.depth.detach()
    known = depth > 0
    columns = [depth[..., None]]
    if counts.behind:
        midway = (depth + max(rays.bounds[1], 0.0)) / 2
        columns.append(torch.where(rays.behind > 0, rays.behind, midway.maximum(depth))[..., None])
    if counts.around:
        columns.append(_around(depth, counts.around, spread_m, jitter).clamp(*rays.bounds))
    if counts.uniform:
        columns.append(_uniform(depth, counts.uniform, rays.bounds, jitter))
    guided = torch.cat(columns, -1)
    depths = torch.where(
        known[..., None], guided, _uniform(depth, counts.total, rays.bounds, jitter)
    )
    depths, order = depths.sort(dim=-1, stable=True)
    return GuidedSamples(depths, (order == 0) & known[..., None])


def _uniform(
    like: Float[Tensor, "h w"], count: int, bounds: tuple[float, float], jitter: bool
) -> Float[Tensor, "h w N"]:
    near, far = bounds
    bins = torch.arange(count, dtype=like.dtype, device=like.device)
    inside = torch.rand(*like.shape, count, device=like.device) if jitter else 0.5
    return (near + (far - near) / count * (bins + inside)).expand(*like.shape, count)


def _around(
    depth: Float[Tensor, "h w"], count: int, spread_m: float, jitter: bool
) -> Float[Tensor, "h w N"]:
    if jitter:
        offsets = torch.randn(*depth.shape, count, device=depth.device)
    else:
        quantiles = (torch.arange(count, dtype=depth.dtype, device=depth.device) + 0.5) / count
        offsets = math.sqrt(2.0) * torch.erfinv(2.0 * quantiles - 1.0)
    return depth[..., None] + spread_m * offsets
