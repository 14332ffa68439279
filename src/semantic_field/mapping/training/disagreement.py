"""Errors of training rays, averaged for each voxel and for each keyframe."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from semantic_field.field.rays.rays import Rays
from semantic_field.field.rays.sampling import GUESSED
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.mapping.keyframes.store import KeyframeStore

KEYFRAME_RATE = 0.1
WARM_UP_STEPS = 200  # voxel errors of earlier steps are ignored, as the map is not yet trained


@dataclass(frozen=True)
class RayErrors:
    """Errors of R rays: differences between the map and the keyframes.

    Attributes:
        slot, pixel: int64 (R,), keyframe slot and pixel number.
        has_depth: bool (R,), whether the pixel has a depth.
        surface: float32 (R, 3), surface point measured by the sensor, map frame, metres.
        depth_m: float32 (R,), absolute depth error along the ray, metres.
        color: float32 (R,), mean absolute colour error in 0..1.
    """

    slot: Int[Tensor, " R"]
    pixel: Int[Tensor, " R"]
    has_depth: Bool[Tensor, " R"]
    surface: Float[Tensor, "R 3"]
    depth_m: Float[Tensor, " R"]
    color: Float[Tensor, " R"]

    COLUMNS: ClassVar = 8  # columns of ``packed``

    @classmethod
    def of(cls, rays: Rays, depth_m: Float[Tensor, " R"], color: Float[Tensor, " R"]) -> RayErrors:
        """Return the errors of rays with these depth and colour errors; all on one device."""
        return cls(rays.slot, rays.pixel, rays.depth > 0, rays.ends(), depth_m, color)

    def chosen(self, rays: Bool[Tensor, " R"]) -> RayErrors:
        """Return the errors of the rays selected by a mask (R,)."""
        return RayErrors(*(getattr(self, item.name)[rays] for item in fields(self)))

    def packed(self) -> Float[Tensor, "R K"]:
        """Return all values as float32 (R, COLUMNS), for one download from a device."""
        columns = (self.slot, self.pixel, self.has_depth, *self.surface.unbind(1))
        columns = (*columns, self.depth_m, self.color)
        return torch.stack([column.float() for column in columns], dim=1)

    @classmethod
    def unpacked(cls, packed: Float[Tensor, "R K"]) -> RayErrors:
        """Return the errors from the tensor that ``packed`` returned."""
        slot, pixel = packed[:, 0].long(), packed[:, 1].long()
        return cls(slot, pixel, packed[:, 2] > 0, packed[:, 3:6], packed[:, 6], packed[:, 7])


def note_errors(errors: RayErrors, voxels: VoxelGrid, store: KeyframeStore, step: int) -> None:
    """Update the mean errors of keyframes and voxels by the ray errors of a training step.

    Voxels are updated only by rays with a measured depth, and not before ``WARM_UP_STEPS``.

    Args:
        errors: errors of the rays, on the processor.
        voxels: grid whose errors are updated. store: keyframes whose errors are updated.
        step: number of the training step.
    """
    slot, color = errors.slot.numpy(), errors.color.numpy()
    mean = store.learnt["error"][: store.count]
    drawn = np.bincount(slot, minlength=store.count)
    latest = np.bincount(slot, color, store.count) / np.maximum(drawn, 1)
    rate = np.where(drawn == 0, 0.0, np.where(mean == 0, 1.0, KEYFRAME_RATE))
    mean += rate * (latest - mean)
    if step < WARM_UP_STEPS:
        return
    guessed = store.images.depths[slot, errors.pixel.numpy()] & GUESSED != 0
    read = np.flatnonzero(errors.has_depth.numpy() & ~guessed)
    voxels.note_errors(errors.surface.numpy()[read], errors.depth_m.numpy()[read], color[read])
