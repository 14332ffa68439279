"""Ground frame of a map: rotation from the map's axes to axes with z up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UP_CHOICES = ("+z", "-z", "+y", "-y", "+x", "-x")


def ground_axes(up: str = "+z") -> NDArray[np.float64]:
    """Return a rotation (3, 3) with rows forward, left and up: ``axes @ point`` has z up.

    Args:
        up: the map axis that points up; for "+z" the result is the identity.
    Raises:
        ValueError: if ``up`` is not one of ``UP_CHOICES``.
    """
    if up not in UP_CHOICES:
        raise ValueError(f"expected the up axis to be one of {UP_CHOICES}, got {up!r}")
    axis = "xyz".index(up[1])
    upward = np.zeros(3)
    upward[axis] = 1.0 if up[0] == "+" else -1.0
    forward = np.zeros(3)
    forward[(axis + 1) % 3] = 1.0
    return np.stack([forward, np.cross(upward, forward), upward])
