"""Where samples of target rays lie in the source images, and what the images hold there.

A sample that is behind a source's camera or outside its image gets nothing from it. Whether the
source sees it, or a nearer surface hides it, is told by the source's own depth (``gap``).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from semantic_field.generalizable.source_images import SourceImages, TargetRays, rotated

SAME_M, SAME_SHARE = 0.02, 0.03  # depths that differ by less are of one surface
NEAREST_M = 0.05  # samples nearer to a source's camera are not seen by it


class Gathered(NamedTuple):
    """S samples of each of h x w rays in V source views. Values are 0 where not ``inside``.

    Attributes:
        pixels: float32 (h, w, S, V, 2), columns and rows in the source's image.
        inside: bool (h, w, S, V), whether the sample is before the camera and in the image.
        far: float32 (h, w, S, V), z-depth in the source.
        reading: float32 (h, w, S, V), the source's depth at the nearest pixel, 0 = no reading.
        colors: float32 (h, w, S, V, 3), RGB in about 0..1, bicubic.
        turn: float32 (h, w, S, V, 4), unit direction of the target's ray minus that of the
            source's, in world axes, and the cosine between them.
        detail: float32 (h, w, S, V), size of a pixel of the target at the sample in pixels of the
            source: below 1 the source is coarser.
    """

    pixels: Float[Tensor, "h w S V 2"]
    inside: Bool[Tensor, "h w S V"]
    far: Float[Tensor, "h w S V"]
    reading: Float[Tensor, "h w S V"]
    colors: Float[Tensor, "h w S V 3"]
    turn: Float[Tensor, "h w S V 4"]
    detail: Float[Tensor, "h w S V"]

    @property
    def gap(self) -> Float[Tensor, "h w S V"]:
        """The reading minus the sample's depth, metres; negative: hidden. 0 without a reading."""
        return torch.where(self.reading > 0, self.reading - self.far, 0.0)


def tolerance_of(depth: Tensor) -> Tensor:
    """Return by how much two depths of one surface may differ at z-depths, metres."""
    return SAME_M + SAME_SHARE * depth


def gather(sources: SourceImages, rays: TargetRays, depths: Float[Tensor, "h w S"]) -> Gathered:
    """Gather what the sources hold at samples of rays.

    Args:
        depths: z-depths of the samples in the target, metres; 0 = no sample.
    """
    H, W = sources.size
    points = rays.points(depths)  # (h, w, S, 3)
    rotation, position = sources.poses[:, :3, :3], sources.poses[:, :3, 3]
    apart = points[..., None, :] - position  # (h, w, S, V, 3)
    local = rotated(apart, rotation.mT)
    far = local[..., 2]
    front = (far > NEAREST_M) & (depths > 0)[..., None]
    safe = torch.where(front, far, 1.0)
    pixels = local[..., :2] / safe[..., None] * sources.intrinsics[:, :2]
    pixels = pixels + sources.intrinsics[:, 2:]
    u, v = pixels[..., 0], pixels[..., 1]
    inside = front & (u >= -0.5) & (u < W - 0.5) & (v >= -0.5) & (v < H - 0.5)
    reading = torch.zeros_like(far)
    if sources.depths is not None:
        reading = at_pixels(sources.depths, pixels, inside)
    here = normalize(points - rays.pose[:3, 3], dim=-1)[..., None, :]
    there = normalize(apart, dim=-1)
    cosine = (here * there).sum(-1, keepdim=True)
    turn = torch.cat([here - there, cosine], -1) * inside[..., None]
    detail = sources.intrinsics[:, 0] / rays.intrinsics[0] * depths[..., None] / safe
    return Gathered(
        pixels=pixels,
        inside=inside,
        far=torch.where(inside, far, 0.0),
        reading=reading,
        colors=interpolated(sources.colors, pixels, inside, (H, W), "bicubic"),
        turn=turn,
        detail=torch.where(inside, detail, 0.0),
    )


def interpolated(
    maps: Float[Tensor, "V C h2 w2"],
    pixels: Float[Tensor, "h w S V 2"],
    inside: Bool[Tensor, "h w S V"],
    size: tuple[int, int],
    mode: str = "bilinear",
) -> Float[Tensor, "h w S V C"]:
    """Return maps of the sources, of any resolution, at pixels; 0 where not inside.

    Args:
        size: height and width of the images to which ``pixels`` refer.
        mode: bilinear, or bicubic, which keeps edges sharp and may leave the range of the values.
    """
    H, W = size
    h, w, S, V, _ = pixels.shape
    scale = pixels.new_tensor([2.0 / W, 2.0 / H])
    grid = (pixels + 0.5) * scale - 1.0
    grid = torch.where(inside[..., None], grid, 0.0)
    grid = grid.permute(3, 0, 1, 2, 4).reshape(V, h * w, S, 2)
    found = grid_sample(maps, grid, mode, "border", align_corners=False)  # (V, C, hw, S)
    found = found.permute(2, 3, 0, 1).reshape(h, w, S, V, maps.shape[1])
    return found * inside[..., None]


def at_pixels(
    images: Float[Tensor, "V H W"] | Int[Tensor, "V H W"],
    pixels: Float[Tensor, "h w S V 2"],
    inside: Bool[Tensor, "h w S V"],
    outside: int = 0,
) -> Tensor:
    """Return the values of images of one number per pixel at the nearest pixels, (h, w, S, V).

    Args:
        outside: the value where not inside.
    """
    V, H, W = images.shape
    column = (pixels[..., 0] + 0.5).floor().clamp(0, W - 1).long()
    row = (pixels[..., 1] + 0.5).floor().clamp(0, H - 1).long()
    number = torch.arange(V, device=images.device) * (H * W) + row * W + column
    return torch.where(inside, images.reshape(-1)[number], outside)
