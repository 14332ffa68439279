"""What the geo-reasoner found, read: depth images without holes, features at samples of rays."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from semantic_field.generalizable.geo_reasoner import Level


def completed(
    readings: Float[Tensor, "V H W"] | None,
    level: Level,
    size: tuple[int, int],
    least_confidence: float,
) -> Float[Tensor, "V H W"]:
    """Return the readings of depth cameras, and in their holes the depth that was found.

    Args:
        readings: metres, 0 = hole; None = no depth camera.
        level: of the cascade, its finest.
        least_confidence: found depths of less are left out (0).
    """
    found = torch.where(level.confidence >= least_confidence, level.depth, 0.0)
    found = interpolate(found[:, None], size=size, mode="nearest-exact")[:, 0]
    return found if readings is None else torch.where(readings > 0, readings, found)


def volume_features(
    level: Level,
    pixels: Float[Tensor, "h w S V 2"],
    far: Float[Tensor, "h w S V"],
    inside: Bool[Tensor, "h w S V"],
    size: tuple[int, int],
) -> Float[Tensor, "h w S V F"]:
    """Return the volume's features at samples of rays, trilinear; 0 where not inside.

    Args:
        pixels: in the sources' images, of ``size`` (height and width); see ``gather``.
        far: z-depths there, metres. Before the first plane and behind the last one, theirs.
    """
    assert level.features is not None, "the volumes have no features: set volume_channels"
    h, w, S, V, _ = pixels.shape
    D = level.features.shape[2]
    scale = pixels.new_tensor([2.0 / size[1], 2.0 / size[0]])
    grid = torch.where(inside[..., None], (pixels + 0.5) * scale - 1.0, 0.0)
    grid = grid.permute(3, 0, 1, 2, 4).reshape(V, h * w, S, 2)
    far = far.permute(3, 0, 1, 2).reshape(V, h * w, S)
    first = torch.stack([planes.first for planes in level.planes])[:, None]
    first = grid_sample(first, grid, padding_mode="border", align_corners=False)[:, 0]
    number = level.planes[0].number_of(far, first)
    along = (2.0 * number + 1.0) / D - 1.0
    grid = torch.cat([grid, along[..., None]], -1)[:, :, :, None]  # (V, hw, S, 1, 3)
    found = grid_sample(level.features, grid, padding_mode="border", align_corners=False)
    found = found[..., 0].permute(2, 3, 0, 1).reshape(h, w, S, V, -1)
    return found * inside[..., None]
