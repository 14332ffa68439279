"""How far a point of the map can be trusted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HALF_TRUSTED_AT = 2.0
HALF_TRUSTED_DEPTH_M = 0.01
HALF_TRUSTED_COLOR = 0.2


def confidence_of(
    observations: NDArray, errors: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Confidence in 0..1 of points seen so many times (N,): n / (n + 2), less where images differ.

    ``errors`` (N, 2) are the mean disagreements of depth (metres) and colour (0..1) between the
    images and the map around the points; each halves the confidence at its constant above.
    """
    n = observations.astype(np.float32)
    trust = n / (n + np.float32(HALF_TRUSTED_AT))
    if errors is not None:
        scaled = errors / np.array([HALF_TRUSTED_DEPTH_M, HALF_TRUSTED_COLOR], np.float32)
        trust /= (1 + np.square(scaled)).prod(1)
    return trust
