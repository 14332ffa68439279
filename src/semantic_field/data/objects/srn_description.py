"""What a folder in the published layout is of: ``objects.json`` beside the instances.

    {"category": "chair", "part_names": ["seat", "back"], "unit_m": 0.5, "centre_m": [0, 0, 0],
     "T_object_world": [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]}

The published folders have no such file: it is added by hand. ``unit_m`` and ``centre_m`` are the
``CategoryFrame``; ``T_object_world`` turns the files' world so that z is up and the front -y; both
may be left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from semantic_field.data.objects.object_views import CategoryFrame, ObjectCollection
from semantic_field.data.objects.srn_layout import UNIT_FRAME, SrnFolder
from semantic_field.geometry import check_transform

NAME = "objects.json"
KNOWN = ("category", "part_names", "unit_m", "centre_m", "T_object_world")
EXAMPLE = '{"category": "chair", "part_names": ["seat", "back", "leg"]}'


def open_srn_folder(root: str | Path, size: int | None = None) -> SrnFolder:
    """Return the objects of a folder with an ``objects.json``.

    Args:
        size: side of the images that are returned, pixels; None = as stored.
    Raises:
        ValueError: if the description is missing or not as above, or as ``SrnFolder``.
    """
    path = Path(root) / NAME
    if not path.exists():
        raise ValueError(
            f"expected {path}, which says what the objects are, found none: write for example "
            f"{EXAMPLE} there"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        category, parts = str(content["category"]), tuple(map(str, content["part_names"]))
        frame = _frame(content)
        T_object_world = check_transform(content.get("T_object_world", np.eye(4)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"expected {path} such as {EXAMPLE}, got: {error!r}") from error
    unknown = sorted(set(content) - set(KNOWN))
    if unknown:
        raise ValueError(f"expected only {', '.join(KNOWN)} in {path}, got {', '.join(unknown)}")
    moved = np.asarray(T_object_world, np.float64)
    return SrnFolder(Path(root), category, parts, frame, moved, size)


def _frame(content: dict[str, Any]) -> CategoryFrame:
    x, y, z = (float(value) for value in content.get("centre_m", UNIT_FRAME.centre_m))
    unit = float(content.get("unit_m", UNIT_FRAME.unit_m))
    if not unit > 0:
        raise ValueError(f"expected unit_m above 0, got {unit}")
    return CategoryFrame(unit, (x, y, z))


def write_description(objects: ObjectCollection, root: Path) -> None:
    """Write the ``objects.json`` of a collection whose views are below ``root``."""
    content = {
        "category": objects.category,
        "part_names": list(objects.part_names),
        "unit_m": objects.frame.unit_m,
        "centre_m": list(objects.frame.centre_m),
    }
    (root / NAME).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
