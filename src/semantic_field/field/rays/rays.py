"""The rays of one training step, with the points at which the field is evaluated."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Rays:
    """R rays with samples near the surface and in the free space before it, on one device.

    On the processor the tensors share their memory with the arrays that the compiled sampler
    fills, so that ``rays.depth.numpy()`` does not copy.

    Attributes:
        points: float32 (R * near + R * free, 3) in the map frame, metres: all samples near
            surfaces, ray by ray, then all in free space.
        near_z: float32 (R, near), z-depth of the samples near the surface, increasing, metres.
        origin: float32 (R, 3), camera centre in the map frame, metres.
        depth: float32 (R,), z-depth of the surface, metres; 0 = unknown.
        stretch: float32 (R,), length of the ray per metre of z-depth.
        trust: float32 (R,), weight of the depth: 1 = measured, less = filled in or noisy, 0 = none.
        color: float32 (R, 3) in 0..1.
        color_weight: float32 (R,), 1, or 0 if the pixel is masked.
        label: int64 (R,), row of the label head, -1 = void.
        label_weight: float32 (R,), weight of each label; 1 when drawn.
        pixel: int64 (R,), pixel number. slot: int64 (R,), keyframe slot.
        clearance: float32 (R, free), distance of each sample in free space from the surfaces that
            its image shows around it, at most the truncation, metres.
        inside: float32 (R,), largest distance inside the surface that samples behind it may have,
            metres; inf = no bound.
    """

    points: Float[Tensor, "N 3"]
    near_z: Float[Tensor, "R S"]
    origin: Float[Tensor, "R 3"]
    depth: Float[Tensor, " R"]
    stretch: Float[Tensor, " R"]
    trust: Float[Tensor, " R"]
    color: Float[Tensor, "R 3"]
    color_weight: Float[Tensor, " R"]
    label: Int[Tensor, " R"]
    label_weight: Float[Tensor, " R"]
    pixel: Int[Tensor, " R"]
    slot: Int[Tensor, " R"]
    clearance: Float[Tensor, "R F"]
    inside: Float[Tensor, " R"]

    def to(self, device: torch.device | str) -> Rays:
        """Return the rays on a device; this object itself if they are already there."""
        if self.depth.device == torch.device(device):
            return self
        return Rays(*(getattr(self, item.name).to(device) for item in fields(self)))

    @property
    def near_points(self) -> Float[Tensor, "RS 3"]:
        """Samples near the surface (R * near, 3), ray by ray."""
        return self.points[: self.near_z.numel()]

    def ends(self, part: slice = slice(None)) -> Float[Tensor, "R 3"]:
        """Return the surface points of all or part of the rays, in the map frame, metres.

        These are the points at the rays' depths; rays of unknown depth end at their origin.
        """
        origin, samples = self.origin[part], self.near_z.shape[1]
        last = self.near_points[samples - 1 :: samples][part]
        share = self.depth[part] / self.near_z[part, -1]
        return origin + share[:, None] * (last - origin)
