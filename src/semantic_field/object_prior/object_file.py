"""Files of completed objects: a PLY whose points have a part and say whether they were seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from semantic_field.field.surface.ply import placed_columns, write_vertices
from semantic_field.object_prior.completion import Completion

FAR_M = 500.0  # coordinates from there on are written as doubles


def write_object(path: str | Path, completion: Completion) -> None:
    """Write the points of a completed object as binary PLY, metres, in the frame of the completion.

    Each has a normal, a colour, ``part`` (index of the part; the names are in the comments) and
    ``observed`` (1, or 0 for what is predicted).

    Raises:
        ValueError: if the file is no .ply.
        OSError: if it cannot be written.
    """
    if Path(path).suffix != ".ply":
        raise ValueError(f"expected a file .ply, got {Path(path).name!r}")
    far = bool((np.abs(completion.points) >= FAR_M).any())
    columns = [
        *placed_columns(
            completion.points.astype("<f8" if far else "<f4"), completion.normals, completion.colors
        ),
        ("part", completion.parts.astype("<i4")),
        ("observed", completion.observed.astype("u1")),
    ]
    names = [f"part {number} {name}" for number, name in enumerate(completion.part_names)]
    write_vertices(path, columns, names)
