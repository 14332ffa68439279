"""Boxes of the named parts of a completed object."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray

from semantic_field.geometry import invert_transform, make_transform, transform_points
from semantic_field.object_prior.completion import PartBox

LEAST_POINTS = 4
TRIM = 0.01  # share of a part's points at each side that its box may leave out
OF_LARGEST = 0.01  # parts with less than this share of all points are labelled by mistake


def part_boxes(
    points: Float[NDArray, "N 3"],
    parts: UInt8[NDArray, "N"],
    observed: Bool[NDArray, "N"],
    part_names: tuple[str, ...],
    T_world_object: NDArray[np.float64],
) -> tuple[PartBox, ...]:
    """Return the box of each part that has points, along the axes of the object's own frame.

    Args:
        points: world frame, metres; parts: index into ``part_names``; observed: the others are
            predicted.
    """
    own = transform_points(invert_transform(T_world_object), points)
    least = max(LEAST_POINTS, OF_LARGEST * len(points))
    boxes = []
    for number, name in enumerate(part_names):
        chosen = parts == number
        if chosen.sum() < least:
            continue
        low, high = np.quantile(own[chosen], (TRIM, 1 - TRIM), axis=0)
        middle = make_transform(np.eye(3), (low + high) / 2)
        share = float(observed[chosen].mean())
        boxes.append(PartBox(name, T_world_object @ middle, high - low, share, int(chosen.sum())))
    return tuple(boxes)
