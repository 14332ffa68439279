"""Projection into keyframes, in torch; see ``seeing``."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from semantic_field.field.rays.keyframe_arrays import DeviceImages
from semantic_field.field.views.seeing import Lenses


class DeviceLenses(NamedTuple):
    """``Lenses`` as tensors on one device; ``last``, ``focal``, ``width`` and ``trust`` are
    columns (K, 2, 1), (K, 1), (K, 1) and (K, 1)."""

    matrix: Float[Tensor, "K 3 4"]
    position: Float[Tensor, "K 3"]
    last: Float[Tensor, "K 2 1"]
    focal: Float[Tensor, "K 1"]
    width: Int[Tensor, "K 1"]
    trust: Float[Tensor, "K 1"]

    @classmethod
    def of(cls, lenses: Lenses, device: torch.device) -> DeviceLenses:
        """Return a copy on a device, made by one upload."""
        arrays = (lenses.matrix, lenses.position, lenses.last)
        arrays = (*arrays, lenses.focal[:, None], lenses.width[:, None], lenses.trust[:, None])
        packed = np.concatenate([a.reshape(-1) for a in arrays], dtype=np.float32)
        parts = torch.from_numpy(packed).to(device).split([a.size for a in arrays])
        columns = (part.view(array.shape) for part, array in zip(parts, arrays, strict=True))
        matrix, position, last, focal, width, trust = columns
        return cls(matrix, position, last[..., None], focal, width.long(), trust)

    def projected(
        self, points: Float[Tensor, "3 N"]
    ) -> tuple[Float[Tensor, "K 2 N"], Float[Tensor, "K N"]]:
        """Return pixel coordinates and z-depths of points; depths may be negative or 0."""
        K, N = len(self.matrix), points.shape[1]
        rows = self.matrix.reshape(3 * K, 4)
        found = torch.addmm(rows[:, 3:], rows[:, :3], points).view(K, 3, N)
        return found[:, :2] / found[:, 2:], found[:, 2]


def numbers(
    pixel: Float[Tensor, "K 2 N"],
    width: Int[Tensor, "K 1"],
    images: DeviceImages,
    slots: Int[Tensor, " K"],
) -> Int[Tensor, "K N"]:
    """Return the number of the nearest pixel among those of all images; it must be inside."""
    u, v = (pixel + 0.5).long().unbind(1)
    return torch.addcmul(u + slots[:, None] * images.labels.shape[1], v, width)
