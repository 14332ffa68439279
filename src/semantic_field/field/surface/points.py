"""Surface point cloud with normals, colours, labels and latents."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SurfacePoints:
    """N surface points in the map frame.

    Attributes:
        xyz: float32 (N, 3), metres, relative to ``origin``.
        normals: float32 (N, 3), unit length, pointing out of the surface into free space.
        color: uint8 RGB (N, 3).
        latent: float16 (N, D), see ``LanguageSpace.similarity``.
        label: int32 class ids (N,), -1 where the map knows no classes.
        confidence: float32 (N,) in 0..1, from the number of observations.
        origin: float64 (3,), see ``MapState``.
        seen: float32 (N,), number of keyframes whose readings show each point, weighted by how
            well they see it (``VotedLabels``); empty where nothing is known about that.
    """

    xyz: NDArray[np.float32]
    normals: NDArray[np.float32]
    color: NDArray[np.uint8]
    latent: NDArray[np.float16]
    label: NDArray[np.int32]
    confidence: NDArray[np.float32]
    origin: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    seen: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def world(self) -> NDArray[np.float64]:
        """float64 (N, 3), metres in the frame of the map."""
        return self.xyz + self.origin

    def __len__(self) -> int:
        return len(self.xyz)

    def select(self, index: NDArray) -> SurfacePoints:
        """Return the points selected by an index array or a mask over N."""
        seen = self.seen[index] if len(self.seen) == len(self) else self.seen
        return replace(self, seen=seen, **{name: getattr(self, name)[index] for name in _ARRAYS})

    def joined(self, other: SurfacePoints) -> SurfacePoints:
        """Return these points followed by those of ``other``, which must be of the same map.

        ``seen`` is empty in the result.
        """
        pairs: dict = {"seen": (self.seen[:0], other.seen[:0])}
        pairs |= {name: (getattr(self, name), getattr(other, name)) for name in _ARRAYS}
        return replace(self, **{name: np.concatenate(pair) for name, pair in pairs.items()})


_ARRAYS = ("xyz", "normals", "color", "latent", "label", "confidence")
