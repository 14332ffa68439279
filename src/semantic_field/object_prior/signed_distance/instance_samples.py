"""Samples of one instance that signed distances are learnt from, and where to draw them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semantic_field.settings import Settings, option

NEAR_SPREADS = (0.012, 0.06)
"""Deviations of samples from the surface, canonical units; each for half of them."""


@dataclass(frozen=True)
class SampleSettings(Settings):
    """Which samples are made of an instance, and how many of them a step looks at."""

    source: str = option(
        "auto",
        "exact: the solids' own surface and distances; views: colour and depth of the training "
        "views; auto: exact where the objects are procedural",
        choices=("auto", "exact", "views"),
    )
    near: int = option(4096, "samples near the surface of an instance", 1)
    free: int = option(1400, "samples anywhere in the cube of an instance", 1)
    surface: int = option(3072, "coloured points of the surface of an instance", 1)
    instances_per_step: int = option(16, "instances that a step looks at", 1)
    points_per_step: int = option(768, "samples of an instance that a step looks at", 1)
    colors_per_step: int = option(256, "coloured points of an instance that a step looks at", 1)
    cube: float = option(1.1, "half the edge of the cube of free samples, canonical units", 0.1)
    bfloat16: bool = option(True, "large products in bfloat16 where the CPU has units for it")


@dataclass(frozen=True)
class InstanceSamples:
    """Samples of one instance, canonical coordinates.

    Attributes:
        points: (N, 3) float16, near the surface and in free space.
        distances: (N,) float16, signed, negative inside.
        surface: (S, 3) float16, points of the surface.
        colors: (S, 3) uint8 sRGB.
    """

    points: NDArray[np.float16]
    distances: NDArray[np.float16]
    surface: NDArray[np.float16]
    colors: NDArray[np.uint8]


def places_to_sample(
    surface: NDArray[np.float64], settings: SampleSettings, rng: np.random.Generator
) -> NDArray[np.float16]:
    """Return places (N, 3) near surface points (S, 3) and anywhere in the cube."""
    chosen = surface[rng.integers(len(surface), size=settings.near)]
    spreads = np.where(rng.random(settings.near) < 0.5, *NEAR_SPREADS)
    near = chosen + rng.normal(size=chosen.shape) * spreads[:, None]
    free = rng.uniform(-settings.cube, settings.cube, (settings.free, 3))
    return np.concatenate([near, free]).astype(np.float16)
