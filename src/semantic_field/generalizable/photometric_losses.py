"""Depth of the sources learnt without true depth: images of one moment must agree.

``depth_consistency``: the rendered depth of the target, where it has proved right, is taken for
true depth of the sources (GeoNeRF; Johari et al. 2022). ``photometric_loss``: sources warped into
each other by their depth must look alike (unsupervised part of RC-MVSNet; Chang et al. 2022).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad, smooth_l1_loss

from semantic_field.generalizable.cost_volume import (
    at_stride,
    nearest_others,
    pixel_directions,
    projected,
    warped,
)
from semantic_field.generalizable.gathering import at_pixels
from semantic_field.generalizable.source_images import SourceImages

LevelDepths = list[Tensor]  # float32 (V, h, w) each, metres, from the finest

FINEST_LEVEL = 2.0
SAME_COLOR = 0.02  # mean difference of two colours, 0..1, up to which they are the same
TEXTURE, PATCH = 0.05, 5  # deviation of the grey of a patch from which it is textured
RECONSTRUCTION, SIMILARITY, SMOOTHNESS = 12.0, 6.0, 0.18  # weights of the photometric terms
SIMILAR_VIEWS = 2  # neighbours whose structural similarity counts
C1, C2 = 0.01**2, 0.03**2


def depth_consistency(
    points: Float[Tensor, "h w 3"],
    rendered: Float[Tensor, "h w 3"],
    true: Float[Tensor, "h w 3"],
    levels: LevelDepths,
    sources: SourceImages,
) -> Tensor:
    """Return the smooth L1 of the sources' depth to that of rendered points they see.

    A point counts for a source if the rendered colour is right, the source has the same colour
    there, and texture about it. The sum is divided by all points, as published.

    Args:
        points: of the rendered depth, world axes, metres, without gradient.
        rendered, true: colours of these rays, 0..1.
        levels: depth of the sources.
    """
    H, W = sources.size
    points, right = points.reshape(1, -1, 3), (rendered - true).abs().mean(-1).reshape(1, -1)
    right = right < SAME_COLOR
    textures = texture(sources.colors)
    total = points.new_zeros(())
    for index in range(len(sources)):
        inverse = torch.linalg.inv(sources.poses[index])
        pixels, far, inside = projected(points, inverse, sources.intrinsics[index], (H, W))
        pixels, inside = pixels[None], inside[None]  # one "plane" of points
        theirs = warped(sources.colors[index], pixels, inside)[:, 0]
        same = (theirs.movedim(0, -1) - true.reshape(1, -1, 3)).abs().mean(-1) < SAME_COLOR
        marked = at_pixels(textures[index][None], pixels[..., None, :], inside[..., None])
        use = inside[0] & right & same & (marked[0, ..., 0] > TEXTURE)
        for number, depths in enumerate(levels):
            scale = pixels.new_tensor([depths.shape[-1] / W, depths.shape[-2] / H])
            there = (pixels + 0.5) * scale - 0.5
            found = warped(depths[index][None], there, inside)[0, 0]
            off = smooth_l1_loss(found, far, reduction="none") * use
            total = total + FINEST_LEVEL * 0.5**number * off.mean()
    return total / len(sources)


def texture(colors: Float[Tensor, "V 3 H W"]) -> Float[Tensor, "V H W"]:
    """Return the deviation of the grey in the 5x5 patch about each pixel (at borders: within)."""
    grey = colors.mean(1, keepdim=True)
    grey = grey - grey.mean()
    n = PATCH**2
    mean, square = avg_pool2d(grey, PATCH, 1), avg_pool2d(grey**2, PATCH, 1)
    deviation = ((square - mean**2).clamp(min=0) * (n / (n - 1))).sqrt()
    return pad(deviation, [PATCH // 2] * 4, mode="replicate")[:, 0]


def photometric_loss(levels: LevelDepths, sources: SourceImages) -> Tensor:
    """Return how far the sources differ when they are warped into each other, over all levels.

    Of each source: at each pixel the neighbour that fits best (half colour, half gradient), the
    structural similarity of the two nearest ones, and the smoothness of depth where the image is
    smooth. Summed over the sources, as published.
    """
    order = nearest_others(sources.poses, len(sources) - 1)
    total = sources.colors.new_zeros(())
    for number, depths in enumerate(levels):
        colors = interpolate(sources.colors, size=depths.shape[-2:], mode="area")
        stride = sources.size[1] // depths.shape[-1]
        intrinsics = at_stride(sources.intrinsics, stride)
        for index, others in enumerate(order):
            loss = _of_source(index, others.tolist(), depths[index], colors, intrinsics, sources)
            total = total + FINEST_LEVEL * 0.5**number * loss
    return total


def _of_source(
    index: int,
    others: list[int],
    depth: Float[Tensor, "h w"],
    colors: Float[Tensor, "V 3 h w"],
    intrinsics: Float[Tensor, "V 4"],
    sources: SourceImages,
) -> Tensor:
    size = (depth.shape[0], depth.shape[1])
    own = colors[index]
    points = (pixel_directions(intrinsics[index], size) * depth[..., None])[None]
    best = torch.full_like(depth, torch.inf)
    similarity = depth.new_zeros(())
    for rank, other in enumerate(others):
        relative = torch.linalg.solve(sources.poses[other], sources.poses[index])
        pixels, _, inside = projected(points, relative, intrinsics[other], size)
        theirs, inside = warped(colors[other], pixels, inside)[:, 0], inside[0]
        difference = reconstruction(theirs, own, inside)
        best = torch.minimum(best, torch.where(inside, difference, torch.inf))
        if rank < SIMILAR_VIEWS:
            similarity = similarity + dissimilarity(own, theirs, inside).mean()
    best = torch.where(best.isfinite(), best, 0.0)
    return (
        RECONSTRUCTION * best.mean() + SIMILARITY * similarity + SMOOTHNESS * roughness(depth, own)
    )


def reconstruction(
    theirs: Float[Tensor, "3 h w"], own: Float[Tensor, "3 h w"], inside: Bool[Tensor, "h w"]
) -> Float[Tensor, "h w"]:
    """Return how two images differ at each pixel: half in colour, half in their gradients."""
    theirs, own = theirs * inside, own * inside
    color = smooth_l1_loss(theirs, own, reduction="none").mean(0)
    along_x = smooth_l1_loss(theirs.diff(dim=2), own.diff(dim=2), reduction="none").mean(0)
    along_y = smooth_l1_loss(theirs.diff(dim=1), own.diff(dim=1), reduction="none").mean(0)
    return 0.5 * color + 0.5 * (pad(along_x, (0, 1)) + pad(along_y, (0, 0, 0, 1)))


def dissimilarity(
    a: Float[Tensor, "3 h w"], b: Float[Tensor, "3 h w"], inside: Bool[Tensor, "h w"]
) -> Float[Tensor, "3 h2 w2"]:
    """Return (1 - SSIM) / 2 in windows of 3x3 pixels, times the share of pixels that is inside."""
    mean_a, mean_b = avg_pool2d(a, 3, 1), avg_pool2d(b, 3, 1)
    variance_a = avg_pool2d(a**2, 3, 1) - mean_a**2
    variance_b = avg_pool2d(b**2, 3, 1) - mean_b**2
    covariance = avg_pool2d(a * b, 3, 1) - mean_a * mean_b
    above = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
    below = (mean_a**2 + mean_b**2 + C1) * (variance_a + variance_b + C2)
    share = avg_pool2d(inside[None].to(a.dtype), 3, 1)
    return ((1 - above / below) / 2).clamp(0, 1) * share


def roughness(depth: Float[Tensor, "h w"], image: Float[Tensor, "3 h w"]) -> Tensor:
    """Return the mean step of depth from pixel to pixel, less where the image has a step too."""
    total = depth.new_zeros(())
    for axis in (0, 1):
        edge = torch.exp(-image.diff(dim=axis + 1).abs().mean(0))
        total = total + (depth.diff(dim=axis) * edge).abs().mean()
    return total
