"""Points on the surface of a map, as its readers get them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SurfacePoints:
    """N surface points in the map frame.

    Attributes:
        xyz: float32 (N, 3), metres.
        normals: float32 (N, 3), unit length, pointing out of the surface into free space.
        color: uint8 RGB (N, 3).
        latent: float16 (N, D), see ``LanguageSpace.similarity``.
        label: int32 class ids (N,), -1 where the map knows no classes.
        confidence: float32 (N,) in 0..1, from the number of observations.
    """

    xyz: NDArray[np.float32]
    normals: NDArray[np.float32]
    color: NDArray[np.uint8]
    latent: NDArray[np.float16]
    label: NDArray[np.int32]
    confidence: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.xyz)

    def select(self, index: NDArray) -> SurfacePoints:
        """The points chosen by an index or mask over N."""
        return SurfacePoints(*(getattr(self, item.name)[index] for item in fields(self)))

    def joined(self, other: SurfacePoints) -> SurfacePoints:
        """These points, and then those of ``other``."""
        names = [item.name for item in fields(self)]
        return SurfacePoints(
            *(np.concatenate([getattr(self, n), getattr(other, n)]) for n in names)
        )
