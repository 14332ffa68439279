"""How far a point of the map can be trusted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HALF_TRUSTED_AT = 2.0


def confidence_of(observations: NDArray) -> NDArray[np.float32]:
    """Confidence in 0..1 of points seen so many times: n / (n + 2)."""
    n = observations.astype(np.float32)
    return n / (n + np.float32(HALF_TRUSTED_AT))
