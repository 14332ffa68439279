"""How well the features of neighbouring sources agree at planes of depth of a source.

Group-wise correlation (Guo et al. 2019): features are cut into G groups of channels; in each, the
agreement is the mean product of the source's feature and the neighbour's, warped to the plane.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import grid_sample

from semantic_field.generalizable.gathering import NEAREST_M
from semantic_field.generalizable.source_images import rotated

LEAST = 1e-3  # of a plane's depth (metres) or inverse depth (1/m)


class Planes(NamedTuple):
    """D planes at each pixel: depths, or inverse depths, in equal steps.

    Attributes:
        first: float32 (h, w), the smallest depth (metres) or inverse depth (1/m).
        step: from one plane to the next, in the same unit, above 0.
        count: number D of planes.
        inverse: whether they are inverse depths: then the first is the farthest.
    """

    first: Float[Tensor, "h w"]
    step: float
    count: int
    inverse: bool

    def values(self) -> Float[Tensor, "D h w"]:
        """Return depths (metres) or inverse depths (1/m)."""
        number = torch.arange(self.count, dtype=self.first.dtype, device=self.first.device)
        return self.first + self.step * number[:, None, None]

    def depths(self) -> Float[Tensor, "D h w"]:
        """Return z-depths, metres."""
        return self.values().reciprocal() if self.inverse else self.values()

    def depth_of(self, value: Tensor) -> Tensor:
        """Return the z-depth of a depth or inverse depth."""
        return value.clamp(min=LEAST).reciprocal() if self.inverse else value

    def number_of(self, depth: Tensor, first: Tensor) -> Tensor:
        """Return on which plane z-depths are, 0 to D-1 with fractions, from ``first`` there."""
        value = depth.clamp(min=LEAST).reciprocal() if self.inverse else depth
        return (value - first) / self.step


def first_planes(
    near_m: float,
    far_m: float,
    count: int,
    inverse: bool,
    size: tuple[int, int],
    device: torch.device,
) -> Planes:
    """Return the planes of the coarsest level: the same at all pixels, from near to far.

    Inverse depths reach both bounds. Depths begin at the nearer and end one step before the other,
    as CasMVSNet and GSNeRF have them.
    """
    least, most = (1 / far_m, 1 / near_m) if inverse else (near_m, far_m)
    step = (most - least) / (count - 1 if inverse else count)
    return Planes(torch.full(size, least, device=device), step, count, inverse)


def finer_planes(value: Float[Tensor, "h w"], step: float, count: int, inverse: bool) -> Planes:
    """Return planes about depths or inverse depths found before, which get no gradient of them."""
    first = (value.detach() - count / 2 * step).clamp(min=LEAST)
    return Planes(first, step, count, inverse)


def at_stride(intrinsics: Float[Tensor, "... 4"], stride: int) -> Float[Tensor, "... 4"]:
    """Return intrinsics of images that are ``stride`` times smaller; pixel centres are integers."""
    focal, centre = intrinsics[..., :2], intrinsics[..., 2:]
    return torch.cat([focal / stride, (centre + 0.5) / stride - 0.5], -1)


def nearest_others(poses: Float[Tensor, "V 4 4"], count: int) -> Int[Tensor, "V n"]:
    """Return the n sources whose cameras are nearest to each one's, itself left out.

    Args:
        poses: ``T_world_camera``: the distances are those of the cameras, not of the inverse
            transforms' translations.
        count: how many at most; fewer where there are not so many.

    Raises:
        ValueError: if there is only one source.
    """
    if len(poses) < 2:
        raise ValueError(
            "expected at least 2 sources to find depth by comparing them, got 1: wait for more "
            "frames or use a depth camera"
        )
    position = poses[:, :3, 3]
    apart = (position[:, None] - position[None]).norm(dim=-1)
    apart = apart.fill_diagonal_(float("inf"))
    return apart.argsort(dim=1, stable=True)[:, : min(count, len(poses) - 1)]


def pixel_directions(
    intrinsics: Float[Tensor, "4"], size: tuple[int, int]
) -> Float[Tensor, "h w 3"]:
    """Return the directions of all pixels in the camera's axes, with z = 1."""
    fx, fy, cx, cy = intrinsics
    v, u = torch.meshgrid(
        torch.arange(size[0], dtype=torch.float32, device=intrinsics.device),
        torch.arange(size[1], dtype=torch.float32, device=intrinsics.device),
        indexing="ij",
    )
    return torch.stack([(u - cx) / fx, (v - cy) / fy, torch.ones_like(u)], -1)


def projected(
    points: Float[Tensor, "... 3"],
    T_camera_points: Float[Tensor, "4 4"],
    intrinsics: Float[Tensor, "4"],
    size: tuple[int, int],
) -> tuple[Float[Tensor, "... 2"], Float[Tensor, "..."], Bool[Tensor, "..."]]:
    """Return pixels and z-depths of points in a camera, and whether it has them in its image."""
    local = rotated(points, T_camera_points[:3, :3]) + T_camera_points[:3, 3]
    far = local[..., 2]
    front = far > NEAREST_M
    safe = torch.where(front, far, 1.0)
    pixels = local[..., :2] / safe[..., None] * intrinsics[:2] + intrinsics[2:]
    u, v = pixels[..., 0], pixels[..., 1]
    H, W = size
    inside = front & (u >= -0.5) & (u < W - 0.5) & (v >= -0.5) & (v < H - 0.5)
    return pixels, far, inside


def warped(
    image: Float[Tensor, "C h w"], pixels: Float[Tensor, "D a b 2"], inside: Bool[Tensor, "D a b"]
) -> Float[Tensor, "C D a b"]:
    """Return an image's values at pixels, bilinear; 0 where not inside."""
    h, w = image.shape[-2:]
    D, a, b, _ = pixels.shape
    grid = (pixels + 0.5) * pixels.new_tensor([2.0 / w, 2.0 / h]) - 1.0
    grid = torch.where(inside[..., None], grid, 0.0).reshape(1, D * a, b, 2)
    found = grid_sample(image[None], grid, padding_mode="border", align_corners=False)
    return found.reshape(-1, D, a, b) * inside


def correlation_volume(
    reference: Float[Tensor, "C h w"],
    others: Float[Tensor, "n C h w"],
    intrinsics: Float[Tensor, "m 4"],
    T_other_reference: Float[Tensor, "n 4 4"],
    depths: Float[Tensor, "D h w"],
    groups: int,
) -> Float[Tensor, "G D h w"]:
    """Return the agreement of a source's features with its neighbours' at planes of depth.

    Args:
        intrinsics: of the reference and then of the others (m = n + 1), at the features' size.
        groups: G, which divides the number C of channels.

    Returns:
        The mean over the neighbours that see the point (before them and in their image); 0 where
        none does. (The released code divides by all source views but one, whoever was compared.)
    """
    C, h, w = reference.shape
    points = pixel_directions(intrinsics[0], (h, w)) * depths[..., None]  # (D, h, w, 3)
    total, seen = torch.zeros((), device=depths.device), torch.zeros_like(depths)
    own = reference.reshape(groups, C // groups, 1, h, w)
    for image, pose, camera in zip(others, T_other_reference, intrinsics[1:], strict=True):
        pixels, _, inside = projected(points, pose, camera, (h, w))
        theirs = warped(image, pixels, inside).reshape(groups, C // groups, -1, h, w)
        total = total + (own * theirs).mean(1)
        seen = seen + inside
    return total / seen.clamp(min=1.0)
