"""The depth of a target view, splatted from the depth of its sources (GSNeRF, Algorithm 1).

Each reading of the sources is projected into the target. At each pixel, the nearest readings and
those of the same surface are averaged (a z-buffer that also averages noise away); the next surface
behind is kept as well, because the nearest may be an error at an edge. Cracks and holes are filled.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad, unfold

from semantic_field.generalizable.gathering import NEAREST_M, SAME_M, SAME_SHARE, tolerance_of
from semantic_field.generalizable.source_images import SourceImages, TargetRays
from semantic_field.generalizable.splat_kernels import layer, project

NEARER_NEIGHBOURS = 5  # of eight: a pixel with so many nearer ones is seen through a crack
LARGE = 1.1  # pixels: smaller readings cover one pixel
BESIDE = 0.01  # weight of a reading at a neighbouring pixel that it covers
RELEASED_WINDOW = 7  # pixels, of the released code's interpolation
RELEASED_DEFAULT_M = 10.0


class TargetDepth(NamedTuple):
    """Depth of the pixels of a target view.

    Attributes:
        depth: float32 (H, W), z-depth of the nearest surface, metres; 0 = nothing is known at all.
        behind: float32 (H, W), z-depth of the next surface behind it, 0 = none is known.
        reached: bool (H, W), whether a source's reading lies there; elsewhere depth is filled in.
    """

    depth: Float[Tensor, "H W"]
    behind: Float[Tensor, "H W"]
    reached: Bool[Tensor, "H W"]


class Readings(NamedTuple):
    """Depth of V sources, and the target of H x W pixels that it is splatted into.

    Attributes:
        depths: float32 (V, h, w), z-depths, metres, 0 = none.
        intrinsics: float32 (V, 4), of the sources. T_target_source: float32 (V, 4, 4).
        target_intrinsics: float32 (4,). size: H and W.
    """

    depths: Float[Tensor, "V h w"]
    intrinsics: Float[Tensor, "V 4"]
    T_target_source: Float[Tensor, "V 4 4"]
    target_intrinsics: Float[Tensor, "4"]
    size: tuple[int, int]


class Splats(NamedTuple):
    """The M readings of all sources that lie in the target's image.

    Attributes:
        pixels: int64 (M,), numbers of the target's nearest pixels.
        depths: float32 (M,), z-depths in the target, metres.
        offsets: float32 (M, 2), columns and rows from the pixel's centre.
        sizes: float32 (M,), edge of a source's pixel at the reading, in pixels of the target.
    """

    pixels: Int[Tensor, "M"]
    depths: Float[Tensor, "M"]
    offsets: Float[Tensor, "M 2"]
    sizes: Float[Tensor, "M"]


def with_target_depth(rays: TargetRays, sources: SourceImages) -> TargetRays:
    """Return rays with the target depth that the sources' depths show; 0 if these have none."""
    if sources.depths is None:
        nothing = torch.zeros_like(rays.depth)
        return replace(rays, depth=nothing, behind=nothing)
    pixels = rays.pixels.round()
    first = pixels.amin((0, 1))
    width, height = (pixels.amax((0, 1)) - first + 1).long().tolist()
    shifted = torch.cat([rays.intrinsics[:2], rays.intrinsics[2:] - first])
    found = target_depth(
        sources.depths, sources.intrinsics, sources.poses, shifted, rays.pose, (height, width)
    )
    u, v = (pixels - first).long().unbind(-1)
    return replace(rays, depth=found.depth[v, u], behind=found.behind[v, u])


def target_depth(
    depths: Float[Tensor, "V h w"],
    intrinsics: Float[Tensor, "V 4"],
    poses: Float[Tensor, "V 4 4"],
    target_intrinsics: Float[Tensor, "4"],
    target_pose: Float[Tensor, "4 4"],
    size: tuple[int, int],
) -> TargetDepth:
    """Return the depth of a target of H x W pixels (``size``) from depths of V sources.

    Args:
        depths: z-depths of the sources, metres, 0 = none. poses: ``T_world_camera``.
    """
    readings = readings_of(depths, intrinsics, poses, target_intrinsics, target_pose, size)
    on_processor = depths.device.type == "cpu"
    front, behind = (layers_on_processor if on_processor else layers)(readings)
    front, behind = _without_cracks(front, behind)
    reached = front > 0
    return TargetDepth(filled_in(front), behind, reached)


def readings_of(
    depths: Float[Tensor, "V h w"],
    intrinsics: Float[Tensor, "V 4"],
    poses: Float[Tensor, "V 4 4"],
    target_intrinsics: Float[Tensor, "4"],
    target_pose: Float[Tensor, "4 4"],
    size: tuple[int, int],
) -> Readings:
    """Return the readings of V sources for a target; see ``target_depth``."""
    T = torch.linalg.inv(target_pose.double()) @ poses.double()
    return Readings(depths, intrinsics, T.to(depths.dtype), target_intrinsics, size)


def layers(readings: Readings) -> tuple[Float[Tensor, "H W"], Float[Tensor, "H W"]]:
    """Return the nearest surface of each pixel and the next one behind it; see ``target_depth``."""
    hits = _hits(splatted(readings), readings.size)
    front = _layer(hits, None, readings.size)
    return front, _layer(hits, front, readings.size)


def layers_on_processor(readings: Readings) -> tuple[Float[Tensor, "H W"], Float[Tensor, "H W"]]:
    """Do the same by compiled loops, several times as fast as torch on a processor."""
    depths, intrinsics, T, lens, (H, W) = readings
    pixels = np.empty(depths.numel(), np.int32)
    found = np.empty((depths.numel(), 4), np.float32)
    count = project(
        depths.numpy(),
        intrinsics.float().numpy(),
        T.numpy(),
        lens.float().numpy(),
        H,
        W,
        np.float32(NEAREST_M),
        pixels,
        found,
    )
    share, same_m, large, beside = map(np.float32, (SAME_SHARE, SAME_M, LARGE, BESIDE))
    front, behind, nothing = (np.zeros(H * W, np.float32) for _ in range(3))
    pixels, found, sums = pixels[:count], found[:count], np.empty((H * W, 2), np.float32)
    layer(pixels, found, nothing, W, share, same_m, large, beside, front, sums)
    layer(pixels, found, front, W, share, same_m, large, beside, behind, sums)
    return torch.from_numpy(front).reshape(H, W), torch.from_numpy(behind).reshape(H, W)


def splatted(readings: Readings) -> Splats:
    """Return where all readings of the sources lie in the target; see ``target_depth``."""
    depths, intrinsics, T, lens, (H, W) = readings
    V = len(depths)
    view, row, column = torch.nonzero(depths > 0, as_tuple=True)
    z = depths[view, row, column]
    fx, fy, cx, cy = intrinsics[view].unbind(1)
    points = torch.stack([(column - cx) / fx * z, (row - cy) / fy * z, z], 1)
    local = torch.empty_like(points)
    ends = torch.bincount(view, minlength=V).cumsum(0).tolist()
    for k, (start, end) in enumerate(zip([0, *ends], ends)):
        local[start:end] = points[start:end] @ T[k, :3, :3].T + T[k, :3, 3]
    far = local[:, 2]
    uv = local[:, :2] / far[:, None].clamp(min=NEAREST_M) * lens[:2]
    uv = uv + lens[2:]
    nearest = (uv + 0.5).floor()
    inside = (far > NEAREST_M) & (nearest >= 0).all(1)
    inside &= (nearest[:, 0] < W) & (nearest[:, 1] < H)
    sizes = (lens[0] * z / fx)[inside]
    uv, nearest, far = uv[inside], nearest[inside], far[inside]
    pixels = nearest[:, 1].long() * W + nearest[:, 0].long()
    return Splats(pixels, far, uv - nearest, sizes / far)


class _Hits(NamedTuple):
    """Depths (N,) of readings at pixels (N,), and their weights (N,)."""

    pixels: Int[Tensor, "N"]
    depths: Float[Tensor, "N"]
    weights: Float[Tensor, "N"]


def _hits(splats: Splats, size: tuple[int, int]) -> _Hits:
    """Return which pixels each reading covers: its nearest, and neighbours if it is larger.

    Neighbours get little weight: they decide only where nothing lies nearer to their centre.
    """
    H, W = size
    parts = [(splats.pixels, splats.depths, torch.ones_like(splats.depths))]
    large = torch.nonzero(splats.sizes > LARGE)[:, 0]
    pixels, depths, reach = splats.pixels[large], splats.depths[large], splats.sizes[large] / 2
    offsets, column, row = splats.offsets[large], pixels % W, pixels // W
    along = {
        (axis, step): (step - offsets[:, axis]).abs() <= reach
        for axis in (0, 1)
        for step in (-1, 0, 1)
    }
    for du, dv in ((u, v) for u in (-1, 0, 1) for v in (-1, 0, 1) if (u, v) != (0, 0)):
        covers = along[0, du] & along[1, dv]
        covers &= (column + du >= 0) & (column + du < W) & (row + dv >= 0) & (row + dv < H)
        near = depths[covers]
        weights = torch.full_like(near, BESIDE)
        parts.append((pixels[covers] + dv * W + du, near, weights))
    return _Hits(*(torch.cat(values) for values in zip(*parts)))


def _layer(
    hits: _Hits, before: Float[Tensor, "H W"] | None, size: tuple[int, int]
) -> Float[Tensor, "H W"]:
    """Return the mean depth of the nearest surface that is behind ``before``; 0 where none is."""
    H, W = size
    pixels, depths, weights = hits
    if before is not None:
        hidden = depths > _farthest(before.reshape(-1)[pixels])
        pixels, depths, weights = pixels[hidden], depths[hidden], weights[hidden]
    nearest = depths.new_full((H * W,), torch.inf)
    nearest = nearest.scatter_reduce(0, pixels, depths, "amin")
    for _ in range(2):  # around the nearest reading, then around the mean
        same = depths <= _farthest(nearest[pixels])
        totals = depths.new_zeros(2, H * W)
        totals[0].index_add_(0, pixels[same], depths[same] * weights[same])
        totals[1].index_add_(0, pixels[same], weights[same])
        nearest = torch.where(totals[1] > 0, totals[0] / totals[1].clamp(min=BESIDE), nearest)
    return torch.where(torch.isfinite(nearest), nearest, 0.0).reshape(H, W)


def _farthest(depth: Tensor) -> Tensor:
    """Return the largest depth that still is of the same surface."""
    return depth + tolerance_of(depth)


def _without_cracks(
    front: Float[Tensor, "H W"], behind: Float[Tensor, "H W"]
) -> tuple[Float[Tensor, "H W"], Float[Tensor, "H W"]]:
    """Return both layers with the pixels corrected through which a nearer surface is missed.

    Readings of a near surface lie apart where the target is nearer to it than the sources: what is
    behind shows between them. Such a pixel, and an unreached one, gets the mean of its neighbours
    of the nearer surface, and what it showed becomes ``behind``.
    """
    around = _neighbours(front)  # (8, H, W)
    infinite = torch.where(front > 0, front, torch.inf)
    nearer = (around > 0) & (_farthest(around) < infinite)
    close = around.masked_fill(~nearer, torch.inf).amin(0)
    near = nearer & (around <= _farthest(close))
    count = near.sum(0)
    mean = (around * near).sum(0) / count.clamp(min=1)
    crack = count >= NEARER_NEIGHBOURS
    return torch.where(crack, mean, front), torch.where(crack & (front > 0), front, behind)


def _neighbours(image: Float[Tensor, "H W"]) -> Float[Tensor, "8 H W"]:
    """Return the eight neighbours of each pixel, 0 beyond the border."""
    H, W = image.shape
    windows = unfold(pad(image, (1, 1, 1, 1))[None, None], 3)[0].reshape(9, H, W)
    return torch.cat([windows[:4], windows[5:]])


def filled_in(depth: Float[Tensor, "H W"]) -> Float[Tensor, "H W"]:
    """Return a depth image with each hole filled from its border, from coarse to fine.

    What a nearer thing hides belongs to the surface behind it, so the farther side of a hole is
    preferred. All zero if no pixel is known.
    """
    H, W = depth.shape
    if min(H, W) < 2 or bool((depth > 0).all()):
        known = depth > 0
        return depth if not known.any() else torch.where(known, depth, depth.max())
    padded = pad(depth, (0, W % 2, 0, H % 2))
    blocks = padded.reshape((H + 1) // 2, 2, (W + 1) // 2, 2).amax((1, 3))
    coarse = filled_in(blocks)
    fine = coarse.repeat_interleave(2, 0).repeat_interleave(2, 1)[:H, :W]
    return torch.where(depth > 0, depth, fine)


def released_depth(
    splats: Splats, size: tuple[int, int], window: int = RELEASED_WINDOW
) -> Float[Tensor, "H W"]:
    """Return the target depth as the released GSNeRF interpolates it, for comparison.

    No z-buffer: the last reading of a pixel wins; pixels average the readings in a window by the
    inverse of their distance, over near and far surfaces alike; the rest is 10 m.
    """
    H, W = size
    last = splats.depths.new_zeros(3, H * W)
    last[0][splats.pixels] = splats.depths
    last[1:, splats.pixels] = splats.offsets.T
    half = window // 2
    parts = unfold(pad(last.reshape(1, 3, H, W), (half,) * 4), window)
    depths, dx, dy = parts.reshape(3, window * window, H, W)
    v, u = torch.meshgrid(*[torch.arange(-half, half + 1, device=dx.device)] * 2, indexing="ij")
    apart = torch.hypot(dx + u.reshape(-1, 1, 1), dy + v.reshape(-1, 1, 1))
    weight = (depths > 0) / apart.clamp(min=1e-3)
    total = weight.sum(0)
    mean = (weight * depths).sum(0) / total.clamp(min=1e-9)
    return torch.where(total > 0, mean, RELEASED_DEFAULT_M)
