"""What the source frames of one target hold, and the rays of the target, as tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class SourceImages:
    """Images, cameras and carried meaning of V source frames of one size, on one device.

    Attributes:
        colors: float32 (V, 3, H, W), RGB in 0..1.
        intrinsics: float32 (V, 4), fx fy cx cy in pixels.
        poses: float32 (V, 4, 4), ``T_world_camera``, metres.
        depths: float32 (V, H, W), z-depth in metres, 0 = no reading; None = no depth camera.
        labels: int64 (V, H, W), rows 0..C-1 of any class list, -1 = no label; None = not carried.
        segments: int64 (V, H, W), the connected area of one label that each pixel is in, numbered
            from 0 in each frame; None without labels.
        n_classes: number C of rows that ``labels`` may have.
        latents: float32 (V, D, h, w), any image of features; None = not carried.
        trust: float32 (V,) in 0..1, how far to believe each source at its distance from the target;
            None = all alike.
        features: what the model computed of each frame (``GeneralizableModel.extract``), each
            tensor with V as its first dimension; None = not yet.
    """

    colors: Float[Tensor, "V 3 H W"]
    intrinsics: Float[Tensor, "V 4"]
    poses: Float[Tensor, "V 4 4"]
    depths: Float[Tensor, "V H W"] | None = None
    labels: Int[Tensor, "V H W"] | None = None
    segments: Int[Tensor, "V H W"] | None = None
    n_classes: int = 0
    latents: Float[Tensor, "V D h w"] | None = None
    trust: Float[Tensor, "V"] | None = None
    features: tuple[Tensor, ...] | None = None

    def __len__(self) -> int:
        return len(self.colors)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images, pixels."""
        return self.colors.shape[-2], self.colors.shape[-1]

    def to(self, device: torch.device | str) -> SourceImages:
        """Return the same on a device."""
        tensors = {name: value for name, value in vars(self).items() if torch.is_tensor(value)}
        moved = {name: value.to(device) for name, value in tensors.items()}
        features = self.features
        if features is not None:
            features = tuple(part.to(device) for part in features)
        return replace(self, **moved, features=features)


@dataclass(frozen=True)
class TargetRays:
    """Pixels of the target for which a prediction is wanted: an image of h x w of them.

    A whole view, a crop of it or every n-th pixel is an image; rays drawn at random are one of one
    row. Models with a head on the rendered image treat neighbours as neighbours.

    Attributes:
        pixels: float32 (h, w, 2), columns and rows in the target's image, pixels.
        intrinsics: float32 (4,), fx fy cx cy of the target, pixels.
        pose: float32 (4, 4), its ``T_world_camera``.
        depth: float32 (h, w), the target depth D_T: z-depth of the surface that the sources' depth
            shows (``target_depth``), 0 = unknown.
        behind: float32 (h, w), z-depth of the next surface behind it, 0 = none is known.
        bounds: nearest and farthest z-depth at which something may be, metres.
    """

    pixels: Float[Tensor, "h w 2"]
    intrinsics: Float[Tensor, "4"]
    pose: Float[Tensor, "4 4"]
    depth: Float[Tensor, "h w"]
    behind: Float[Tensor, "h w"]
    bounds: tuple[float, float] = (0.1, 10.0)

    @property
    def size(self) -> tuple[int, int]:
        """Rows h and columns w of the image of rays."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def part(self, rows: slice, columns: slice) -> TargetRays:
        """Return the rays of a rectangle of the image of rays."""
        cut = {name: getattr(self, name)[rows, columns] for name in ("pixels", "depth", "behind")}
        return replace(self, **cut)

    def at(self, rows: Int[Tensor, "Q"], columns: Int[Tensor, "Q"]) -> TargetRays:
        """Return Q rays as an image of Q x 1."""
        parts = {
            name: getattr(self, name)[rows, columns][:, None]
            for name in ("pixels", "depth", "behind")
        }
        return replace(self, **parts)

    def directions(self) -> Float[Tensor, "h w 3"]:
        """Return the rays' directions in the target's axes, with z = 1."""
        fx, fy, cx, cy = self.intrinsics
        x = (self.pixels[..., 0] - cx) / fx
        y = (self.pixels[..., 1] - cy) / fy
        return torch.stack([x, y, torch.ones_like(x)], -1)

    def points(self, depths: Float[Tensor, "h w S"]) -> Float[Tensor, "h w S 3"]:
        """Return the world points at z-depths along the rays."""
        points = self.directions()[..., None, :] * depths[..., None]
        return rotated(points, self.pose[:3, :3]) + self.pose[:3, 3]


def rotated(points: Float[Tensor, "... 3"], rotation: Tensor) -> Float[Tensor, "... 3"]:
    """Return points turned by one rotation (3, 3), or points (..., V, 3) each by its own (V, 3, 3).

    Without autocast, which computes products of matrices in half precision: at bfloat16, a point
    3 m away would move by a centimetre.
    """
    with torch.autocast(points.device.type, enabled=False):
        if rotation.dim() == 2:
            return points @ rotation.T
        return torch.einsum("...vi,vji->...vj", points, rotation)


def target_rays(
    intrinsics: Float[Tensor, "4"],
    pose: Float[Tensor, "4 4"],
    depth: Float[Tensor, "H W"],
    behind: Float[Tensor, "H W"],
    bounds: tuple[float, float] = (0.1, 10.0),
) -> TargetRays:
    """Return the rays of all pixels of a target; see ``TargetRays``."""
    H, W = depth.shape
    v, u = torch.meshgrid(
        torch.arange(H, dtype=torch.float32, device=depth.device),
        torch.arange(W, dtype=torch.float32, device=depth.device),
        indexing="ij",
    )
    return TargetRays(torch.stack([u, v], -1), intrinsics, pose, depth, behind, bounds)
