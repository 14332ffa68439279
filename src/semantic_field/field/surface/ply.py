"""PLY writer for surface points, readable by Open3D, MeshLab and CloudCompare."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semantic_field.atomic_files import check_space, replacing
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.field.surface.surface_files import positions_of

_VERTEX = [
    *((name, "<f4") for name in ("nx", "ny", "nz")),
    *((name, "u1") for name in ("red", "green", "blue")),
    ("relevancy", "<f4"),
    ("label", "<i4"),
]
_PLY_NAMES = {"f4": "float", "f8": "double", "u1": "uchar", "i4": "int"}


def write_ply(
    path: str | Path,
    points: SurfacePoints,
    relevancy: NDArray[np.floating] | None = None,
    color: NDArray[np.uint8] | None = None,
) -> None:
    """Write points with normals, RGB, relevancy 0..1 and class id (-1 none), binary, metres.

    Positions are in the map's frame: doubles if the map has a non-zero origin, else floats.
    ``color`` (N, 3) replaces the points' own colour; without ``relevancy`` it is written as 0.
    The file is renamed into place when it is complete.

    Raises:
        ValueError: if the arrays differ in length.
        OSError: if the file cannot be written.
    """
    count = len(points)
    for name, array in (("relevancy", relevancy), ("color", color)):
        if array is not None and len(array) != count:
            raise ValueError(f"expected {name} of {count} points, got {len(array)}")
    positions = positions_of(points)
    kind = np.dtype([*((name, positions.dtype) for name in "xyz"), *_VERTEX])
    vertices = np.zeros(count, kind)
    for array, names in (
        (positions, ("x", "y", "z")),
        (points.normals, ("nx", "ny", "nz")),
        (points.color if color is None else color, ("red", "green", "blue")),
    ):
        for column, name in enumerate(names):
            vertices[name] = array[:, column]
    vertices["relevancy"] = 0.0 if relevancy is None else relevancy
    vertices["label"] = points.label
    check_space(path, vertices.nbytes)
    with replacing(path) as hidden, hidden.open("wb") as file:
        file.write(_header(kind, count))
        file.write(vertices.tobytes())


def _header(kind: np.dtype, count: int) -> bytes:
    fields = kind.fields or {}
    properties = [f"property {_PLY_NAMES[t[0].str[1:]]} {name}" for name, t in fields.items()]
    lines = ["ply", "format binary_little_endian 1.0", "comment metres"]
    lines += [f"element vertex {count}", *properties, "end_header"]
    return ("\n".join(lines) + "\n").encode()
