"""Points on the surface of a map, as its readers get them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SurfacePoints:
    """N surface points in the map frame.

    Attributes:
        xyz: float32 (N, 3), metres, from ``origin`` on.
        normals: float32 (N, 3), unit length, pointing out of the surface into free space.
        color: uint8 RGB (N, 3).
        latent: float16 (N, D), see ``LanguageSpace.similarity``.
        label: int32 class ids (N,), -1 where the map knows no classes.
        confidence: float32 (N,) in 0..1, from the number of observations.
        origin: float64 (3,), see ``MapState``.
    """

    xyz: NDArray[np.float32]
    normals: NDArray[np.float32]
    color: NDArray[np.uint8]
    latent: NDArray[np.float16]
    label: NDArray[np.int32]
    confidence: NDArray[np.float32]
    origin: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))

    @property
    def world(self) -> NDArray[np.float64]:
        """float64 (N, 3), metres in the frame of the map."""
        return self.xyz + self.origin

    def __len__(self) -> int:
        return len(self.xyz)

    def select(self, index: NDArray) -> SurfacePoints:
        """The points chosen by an index or mask over N."""
        return replace(self, **{name: getattr(self, name)[index] for name in _ARRAYS})

    def joined(self, other: SurfacePoints) -> SurfacePoints:
        """These points, and then those of ``other``, of the same map."""
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in _ARRAYS}
        return replace(self, **{name: np.concatenate(pair) for name, pair in pairs.items()})


_ARRAYS = ("xyz", "normals", "color", "latent", "label", "confidence")
