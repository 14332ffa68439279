"""Training objects by their location: procedural ones by seeds, or a folder in SRN's layout."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from semantic_field.data.objects.object_views import CategoryFrame, ObjectCollection, ObjectView
from semantic_field.data.objects.procedural_objects import ProceduralObjects, ViewPlan
from semantic_field.data.objects.srn_description import open_srn_folder

PROCEDURAL = re.compile(r"objects:(?P<category>\w+):seed=(?P<first>\d+)(\.\.(?P<last>\d+))?")
START = "objects:"


class KeptObjects:
    """A collection whose views stay in memory once they were asked for.

    All views of an instance are made together where the collection can do so: an epoch of random
    views would otherwise render each of them anew. A view of 64x64 pixels takes 36 kB.

    Attributes:
        procedural: the procedural objects, whose solids are known; None = they are others.
    """

    def __init__(self, objects: ObjectCollection) -> None:
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


def open_objects(locations: Sequence[str], side: int, views: int) -> KeptObjects:
    """Return the objects of one category at a location.

    Args:
        locations: one entry, ``objects:chair:seed=0..199`` or a folder in SRN's layout.
        side: width and height of the views, pixels.
        views: of each procedural object.
    Raises:
        ValueError: if there is not exactly one location, or nothing can be read there.
    """
    if len(locations) != 1:
        raise ValueError(
            f"expected one location of objects of one category, got {list(locations)}; give "
            "objects:chair:seed=0..199 or one folder"
        )
    location = os.path.expandvars(locations[0])
    if location.startswith(START):
        return KeptObjects(_procedural(location, ViewPlan(count=views, size=side)))
    return KeptObjects(open_srn_folder(location, side))


def _procedural(location: str, plan: ViewPlan) -> ProceduralObjects:
    found = PROCEDURAL.fullmatch(location)
    if not found:
        raise ValueError(f"expected objects such as objects:chair:seed=0..199, got {location!r}")
    first = int(found["first"])
    last = int(found["last"] or first)
    if last < first:
        raise ValueError(f"expected seeds that rise, as seed=0..199, got {location!r}")
    return ProceduralObjects(found["category"], range(first, last + 1), plan)
