"""One view of one object, and collections of objects of a category with their views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from semantic_field.geometry import Camera

BACKGROUND = 0


@dataclass(frozen=True)
class CategoryFrame:
    """Where the canonical coordinates of a category, about -1..1, lie in an object's own frame.

    An object's own frame is in metres: origin on the ground below the middle of its bounding box,
    z up, front towards -y.

    Attributes:
        unit_m: metres of one canonical unit.
        centre_m: (x, y, z) of the canonical origin in the object's own frame, metres.
    """

    unit_m: float
    centre_m: tuple[float, float, float]

    def to_canonical(self, points: NDArray) -> NDArray:
        """Return points (..., 3) of the object's own frame, metres, in canonical coordinates."""
        return (points - np.asarray(self.centre_m, points.dtype)) / self.unit_m

    def to_object(self, points: NDArray) -> NDArray:
        """Return canonical points (..., 3) in the object's own frame, metres."""
        return points * self.unit_m + np.asarray(self.centre_m, points.dtype)


@dataclass(frozen=True)
class ObjectView:
    """What a camera sees of one object alone.

    Attributes:
        color: (H, W, 3) uint8 sRGB; the background is white.
        camera: intrinsics of all images.
        T_object_camera: (4, 4), camera points (OpenCV axes) to the object's own frame, metres.
        depth: (H, W) float32 depth along z, metres, 0 = background or not measured; None = unknown.
        parts: (H, W) uint8, 0 = background, i + 1 = the i-th part name; None = not labelled.
        mask: (H, W) bool, where the object is; None = unknown.
    """

    color: NDArray[np.uint8]
    camera: Camera
    T_object_camera: NDArray[np.float64]
    depth: NDArray[np.float32] | None = None
    parts: NDArray[np.uint8] | None = None
    mask: NDArray[np.bool_] | None = None


class ObjectCollection(Protocol):
    """Objects of one category, each with views; its instances and views never change.

    Attributes:
        category: such as "chair".
        part_names: of the parts, without background.
        frame: the category's canonical coordinates.
        names: of the instances, unique over training and test.
    """

    category: str
    part_names: tuple[str, ...]
    frame: CategoryFrame
    names: Sequence[str]

    def view_count(self, instance: int) -> int:
        """Return the number of views of an instance."""
        ...

    def view(self, instance: int, index: int) -> ObjectView:
        """Return one view of an instance."""
        ...
