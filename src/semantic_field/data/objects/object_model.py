"""An object made of solids, each of a named part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.room.shapes import Shape, extent


@dataclass(frozen=True, eq=False)
class ObjectModel:
    """A whole object in its own frame: metres, origin on the ground under its middle, front -y.

    Attributes:
        category: such as "chair".
        name: unique over all instances of the category.
        part_names: of the category's parts, without background; an instance need not have all.
        shapes: its solids; they may touch and overlap, the object is their union.
        parts: (N,) int64, index into ``part_names`` of each solid.
    """

    category: str
    name: str
    part_names: tuple[str, ...]
    shapes: tuple[Shape, ...]
    parts: NDArray[np.int64]

    def bounds(self) -> NDArray[np.float64]:
        """Return lower and upper corner (2, 3) of its bounding box, metres."""
        return extent(list(self.shapes))

    def middle(self) -> NDArray[np.float64]:
        """Return the middle (3,) of its bounding box, metres."""
        return self.bounds().mean(axis=0)

    def radius(self) -> float:
        """Return the radius of the sphere around its bounding box, metres."""
        low, high = self.bounds()
        return 0.5 * float(np.linalg.norm(high - low))


def assembled(
    category: str,
    name: str,
    part_names: tuple[str, ...],
    solids: Mapping[str, Sequence[Shape]],
) -> ObjectModel:
    """Return the object of solids by part, moved so that its origin is where it has to be.

    Raises:
        ValueError: if a part is none of ``part_names``.
    """
    unknown = sorted(set(solids) - set(part_names))
    if unknown:
        raise ValueError(f"expected parts among {part_names}, got {unknown}: rename them")
    shapes = [shape for part in part_names for shape in solids.get(part, ())]
    counts = [len(solids.get(part, ())) for part in part_names]
    low, high = extent(shapes)
    offset = np.array([-(low[0] + high[0]) / 2, -(low[1] + high[1]) / 2, -low[2]])
    moved = tuple(shape.moved(np.eye(3), offset) for shape in shapes)
    return ObjectModel(
        category, name, part_names, moved, np.repeat(np.arange(len(part_names)), counts)
    )
