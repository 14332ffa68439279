"""Confidence of map points, from observation counts and reprojection errors."""

from __future__ import annotations

from typing import TypeVar

from numpy.typing import NDArray
from torch import Tensor

Numbers = TypeVar("Numbers", NDArray, Tensor)

HALF_TRUSTED_AT = 2.0
HALF_TRUSTED_DEPTH_M = 0.01
HALF_TRUSTED_COLOR = 0.2


def confidence_of(observations: Numbers, errors: Numbers | None = None) -> Numbers:
    """Return the confidence (N,) in 0..1 of points observed n times: n / (n + 2), less with errors.

    Args:
        observations: (N,), floating point; a NumPy array or a tensor.
        errors: (N, 2), mean absolute differences of depth (metres) and colour (0..1) between the
            images and the map around the points. Each halves the confidence at its constant above.
    """
    trust = observations / (observations + HALF_TRUSTED_AT)
    if errors is not None:
        depth, color = errors[:, 0] / HALF_TRUSTED_DEPTH_M, errors[:, 1] / HALF_TRUSTED_COLOR
        trust = trust / ((1 + depth * depth) * (1 + color * color))
    return trust
