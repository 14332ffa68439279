"""Training objects by their location: procedural ones by seeds, or a folder in SRN's layout."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from semantic_field.data.objects.object_views import CategoryFrame, ObjectView
from semantic_field.data.objects.procedural_objects import ProceduralObjects, ViewPlan
from semantic_field.data.objects.srn_layout import SrnFolder
from semantic_field.object_prior.training.prior_settings import ObjectData

PROCEDURAL = re.compile(r"objects:(?P<category>\w+):seed=(?P<first>\d+)(\.\.(?P<last>\d+))?")
START = "objects:"
FROM_Y_UP = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
"""From a world with y up and its front towards z to an object's own frame (front -y)."""


class KeptObjects:
    """A collection whose views stay in memory once they were asked for.

    All views of an instance are made together where the collection can do so: an epoch of random
    views would otherwise render each of them anew. A view of 64x64 pixels takes 36 kB.

    Attributes:
        procedural: the procedural objects, whose solids are known; None = they are others.
    """

    def __init__(self, objects: ProceduralObjects | SrnFolder) -> None:
        self._objects = objects
        self.category: str = objects.category
        self.part_names: tuple[str, ...] = objects.part_names
        self.frame: CategoryFrame = objects.frame
        self.names: Sequence[str] = tuple(objects.names)
        self.procedural = objects if isinstance(objects, ProceduralObjects) else None
        self._views: dict[tuple[int, int], ObjectView] = {}

    def view_count(self, instance: int) -> int:
        """Return the number of views of an instance."""
        return self._objects.view_count(instance)

    def view(self, instance: int, index: int) -> ObjectView:
        """Return one view of an instance."""
        if (instance, index) not in self._views:
            self._take(instance, index)
        return self._views[instance, index]

    def _take(self, instance: int, index: int) -> None:
        if isinstance(self._objects, ProceduralObjects):
            views = self._objects.views(instance)
            self._views |= {(instance, number): view for number, view in enumerate(views)}
        else:
            self._views[instance, index] = self._objects.view(instance, index)


def open_objects(data: ObjectData) -> KeptObjects:
    """Return the objects of one category that settings name.

    Raises:
        ValueError: if there is not exactly one location, or nothing can be read there.
    """
    if len(data.objects) != 1:
        raise ValueError(
            f"expected one location of objects of one category, got {list(data.objects)}; give "
            "objects:chair:seed=0..199 or one folder"
        )
    location = os.path.expandvars(data.objects[0])
    if location.startswith(START):
        plan = ViewPlan(count=data.views + data.held_out_views, size=data.side)
        return KeptObjects(_procedural(location, plan))
    return KeptObjects(_folder(Path(location).expanduser(), data))


def _procedural(location: str, plan: ViewPlan) -> ProceduralObjects:
    found = PROCEDURAL.fullmatch(location)
    if not found:
        raise ValueError(f"expected objects such as objects:chair:seed=0..199, got {location!r}")
    first = int(found["first"])
    last = int(found["last"] or first)
    if last < first:
        raise ValueError(f"expected seeds that rise, as seed=0..199, got {location!r}")
    return ProceduralObjects(found["category"], range(first, last + 1), plan)


def _folder(root: Path, data: ObjectData) -> SrnFolder:
    if not data.category:
        raise ValueError(
            f"expected the category of the objects in {root}, got none; set data.category (and "
            "data.part_names, if they have seg/) in the settings"
        )
    frame = CategoryFrame(data.unit_m, data.centre_m)
    turn = FROM_Y_UP if data.up == "y" else np.eye(4)
    return SrnFolder(root, data.category, data.part_names, frame, turn, data.side)
