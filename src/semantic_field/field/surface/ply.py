"""PLY writer for surface points, readable by Open3D, MeshLab and CloudCompare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semantic_field.atomic_files import check_space, replacing
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.field.surface.surface_files import positions_of

_PLY_NAMES = {"f4": "float", "f8": "double", "u1": "uchar", "i4": "int"}
Columns = Sequence[tuple[str, NDArray]]


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
    relevancy = np.zeros(len(points), np.float32) if relevancy is None else relevancy
    color = points.color if color is None else color
    columns = [
        *placed_columns(
            positions_of(points), points.normals, points.color if color is None else color
        ),
        ("relevancy", np.asarray(relevancy, "<f4")),
        ("label", points.label.astype("<i4")),
    ]
    write_vertices(path, columns)


def placed_columns(
    positions: NDArray[np.floating], normals: NDArray[np.floating], color: NDArray[np.uint8]
) -> Columns:
    """Return the columns of positions (float or double), normals and colours, each (N, 3)."""
    return [
        *zip("xyz", positions.T, strict=True),
        *zip(("nx", "ny", "nz"), normals.T.astype("<f4"), strict=True),
        *zip(("red", "green", "blue"), color.T, strict=True),
    ]


def write_vertices(path: str | Path, columns: Columns, comments: Sequence[str] = ()) -> None:
    """Write vertices with named columns, each (N,) of float, double, uchar or int; binary, metres.

    The file is renamed into place when it is complete.

    Raises:
        ValueError: if the columns differ in length.
        OSError: if the file cannot be written.
    """
    count = len(columns[0][1])
    for name, array in columns:
        if len(array) != count:
            raise ValueError(f"expected {name} of {count} points, got {len(array)}")
    kind = np.dtype([(name, array.dtype.newbyteorder("<")) for name, array in columns])
    vertices = np.zeros(count, kind)
    for name, array in columns:
        vertices[name] = array
    check_space(path, vertices.nbytes)
    with replacing(path) as hidden, hidden.open("wb") as file:
        file.write(_header(kind, count, comments))
        file.write(vertices.tobytes())


def _header(kind: np.dtype, count: int, comments: Sequence[str]) -> bytes:
    fields = kind.fields or {}
    properties = [f"property {_PLY_NAMES[t[0].str[1:]]} {name}" for name, t in fields.items()]
    lines = ["ply", "format binary_little_endian 1.0", "comment metres"]
    lines += [f"comment {text}" for text in comments]
    lines += [f"element vertex {count}", *properties, "end_header"]
    return ("\n".join(lines) + "\n").encode()
