"""Tables of solids, their groups and their looks, as the compiled ray caster takes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.room import textures
from semantic_field.data.room.shapes import Shape, extent


def shape_tables(shapes: Sequence[Shape]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the tables shapes (N, 16) and kinds (N,) of ``ray_caster``."""
    rows = [[*s.centre, *s.half, *s.rotation.ravel(), s.top] for s in shapes]
    return np.array(rows), np.array([s.kind for s in shapes])


def group_tables(
    pieces: Sequence[Sequence[Shape]], sizes: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the tables groups (G, 6) and spans (G, 2) of ``ray_caster``.

    Args:
        pieces: solids of each piece; all of them in a row are the table of shapes.
        sizes: most solids in one group, for each piece.
    """
    boxes, spans, used = [], [], 0
    for shapes, size in zip(pieces, sizes, strict=True):
        for start in range(0, len(shapes), size):
            members = list(shapes[start : start + size])
            low, high = extent(members)
            boxes.append([*(low - 1e-6), *(high + 1e-6)])
            spans.append([used, used + len(members)])
            used += len(members)
    return np.array(boxes), np.array(spans)


def surface_tables(shapes: Sequence[Shape]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return looks (N, 8) and textures (N, 2); see ``room_renderer.render``."""
    offsets = np.random.default_rng(0).random((len(shapes), 2))
    looks, kinds = np.zeros((len(shapes), 8)), np.zeros((len(shapes), 2), np.int64)
    for i, shape in enumerate(shapes):
        material = shape.material
        looks[i, :3] = np.asarray(material.color) ** 2.2
        looks[i, 3:5] = 1 / material.size_m, material.emission
        looks[i, 5:7] = offsets[i]
        kinds[i] = textures.NAMES.index(material.texture), material.fit
    return looks, kinds
