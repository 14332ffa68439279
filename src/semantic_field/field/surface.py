"""Points on the surface of the map, with what the field says at each of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semantic_field.field.map_state import MapState


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
        return SurfacePoints(
            self.xyz[index],
            self.normals[index],
            self.color[index],
            self.latent[index],
            self.label[index],
            self.confidence[index],
        )


def extract_surface(state: MapState, voxel_m: float = 0.03) -> SurfacePoints:
    """At most one surface point per voxel of edge ``voxel_m`` (metres) of the observed map."""
    raise NotImplementedError
