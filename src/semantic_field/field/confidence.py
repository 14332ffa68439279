"""How far a point of the map can be trusted."""

from __future__ import annotations

from typing import TypeVar

from numpy.typing import NDArray
from torch import Tensor

Numbers = TypeVar("Numbers", NDArray, Tensor)

HALF_TRUSTED_AT = 2.0
HALF_TRUSTED_DEPTH_M = 0.01
HALF_TRUSTED_COLOR = 0.2


def confidence_of(observations: Numbers, errors: Numbers | None = None) -> Numbers:
    """Confidence in 0..1 of points seen so many times (N,): n / (n + 2), less where images differ.

    ``errors`` (N, 2) are the mean disagreements of depth (metres) and colour (0..1) between the
    images and the map around the points; each halves the confidence at its constant above.
    Floating arrays of NumPy, or tensors.
    """
    trust = observations / (observations + HALF_TRUSTED_AT)
    if errors is not None:
        depth, color = errors[:, 0] / HALF_TRUSTED_DEPTH_M, errors[:, 1] / HALF_TRUSTED_COLOR
        trust = trust / ((1 + depth * depth) * (1 + color * color))
    return trust
