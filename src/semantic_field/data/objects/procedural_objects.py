"""Objects of six categories by seed, and collections of them with rendered views."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.objects import cabinets, lamps, seats, tables, vessels
from semantic_field.data.objects.object_cameras import random_poses, spiral_poses, square_camera
from semantic_field.data.objects.object_model import ObjectModel, assembled
from semantic_field.data.objects.object_rendering import LitObject, lit, render_views
from semantic_field.data.objects.object_views import CategoryFrame, ObjectView
from semantic_field.data.room.shapes import Shape

PART_NAMES: dict[str, tuple[str, ...]] = {
    "chair": seats.PARTS,
    "table": tables.PARTS,
    "mug": vessels.MUG_PARTS,
    "bottle": vessels.BOTTLE_PARTS,
    "lamp": lamps.PARTS,
    "cabinet": cabinets.PARTS,
}
CATEGORIES = tuple(PART_NAMES)
CATEGORY_FRAMES = {
    "chair": CategoryFrame(0.6, (0.0, 0.0, 0.48)),
    "table": CategoryFrame(0.9, (0.0, 0.0, 0.38)),
    "mug": CategoryFrame(0.08, (0.0, 0.0, 0.055)),
    "bottle": CategoryFrame(0.19, (0.0, 0.0, 0.15)),
    "lamp": CategoryFrame(0.9, (0.0, 0.0, 0.8)),
    "cabinet": CategoryFrame(0.95, (0.0, 0.0, 0.75)),
}
TRAIN_SEEDS = range(0, 10_000)
TEST_SEEDS = range(10_000, 20_000)
CACHED_VIEWS, CACHED_OBJECTS = 4096, 64
_Solids = Callable[[np.random.Generator], Mapping[str, list[Shape]]]
_MAKERS: dict[str, _Solids] = {
    "chair": lambda rng: seats.chair_solids(seats.random_chair(rng)),
    "table": lambda rng: tables.table_solids(tables.random_table(rng)),
    "mug": lambda rng: vessels.mug_solids(vessels.random_mug(rng)),
    "bottle": lambda rng: vessels.bottle_solids(vessels.random_bottle(rng)),
    "lamp": lambda rng: lamps.lamp_solids(lamps.random_lamp(rng)),
    "cabinet": lambda rng: cabinets.cabinet_solids(cabinets.random_cabinet(rng)),
}


def check_category(category: str) -> None:
    """Raise ValueError if there is no such category."""
    if category not in CATEGORIES:
        raise ValueError(f"expected one of {', '.join(CATEGORIES)}, got {category!r}")


def make_object(category: str, seed: int) -> ObjectModel:
    """Return the object of a category and a seed, always the same.

    Raises:
        ValueError: if the category is none of ``CATEGORIES``, or the seed is negative.
    """
    check_category(category)
    if seed < 0:
        raise ValueError(f"expected a seed of 0 or more, got {seed}")
    solids = _MAKERS[category](_random(category, seed, 0))
    return assembled(category, f"{category}-{seed:05d}", PART_NAMES[category], solids)


def _random(category: str, seed: int, stream: int) -> np.random.Generator:
    """Return the random numbers of an object's shape (stream 0) or of its views (1)."""
    return np.random.default_rng([CATEGORIES.index(category), seed, stream])


@dataclass(frozen=True)
class ViewPlan:
    """Which views an object has.

    Attributes:
        count: of views.
        size: of the square images, pixels.
        spiral: a fixed spiral (for tests) instead of random places on the upper sphere.
    """

    count: int = 50
    size: int = 64
    spiral: bool = False


class ProceduralObjects:
    """Objects of one category by seed, as an ``ObjectCollection``; views are rendered when asked.

    Views are the same whatever order they are asked in; the newest are kept.
    """

    def __init__(self, category: str, seeds: Sequence[int], views: ViewPlan = ViewPlan()) -> None:
        """Take the category, the seeds of its objects and which views they have.

        Raises:
            ValueError: if the category is unknown, or a seed occurs twice.
        """
        check_category(category)
        if len(set(seeds)) != len(seeds):
            raise ValueError("expected each seed once, got a repeated one: use set(seeds)")
        self.category = category
        self.part_names = PART_NAMES[category]
        self.frame = CATEGORY_FRAMES[category]
        self.seeds = tuple(int(seed) for seed in seeds)
        self.names: Sequence[str] = tuple(f"{category}-{seed:05d}" for seed in self.seeds)
        self.plan = views
        self.camera = square_camera(views.size)
        self._views: OrderedDict[tuple[int, int], ObjectView] = OrderedDict()
        self._lit: OrderedDict[int, LitObject] = OrderedDict()

    def model(self, instance: int) -> ObjectModel:
        """Return the solids of an instance."""
        return make_object(self.category, self.seeds[instance])

    def view_count(self, instance: int) -> int:
        """Return the number of views of an instance."""
        return self.plan.count

    def view(self, instance: int, index: int) -> ObjectView:
        """Return one view of an instance."""
        key = instance, index
        if key not in self._views:
            subject = self._subject(instance)
            pose = self.poses(instance)[index]
            self._views[key] = render_views(subject, self.camera, pose[None])[0]
            if len(self._views) > CACHED_VIEWS:
                self._views.popitem(last=False)
        self._views.move_to_end(key)
        return self._views[key]

    def views(self, instance: int) -> list[ObjectView]:
        """Return all views of an instance, rendered at once and not kept: fastest for training."""
        return render_views(self._subject(instance), self.camera, self.poses(instance))

    def poses(self, instance: int) -> NDArray[np.float64]:
        """Return T_object_camera (V, 4, 4) of all views of an instance."""
        model, plan = self._subject(instance).model, self.plan
        if plan.spiral:
            return spiral_poses(model, self.camera, plan.count)
        rng = _random(self.category, self.seeds[instance], 1)
        return random_poses(model, self.camera, plan.count, rng)

    def _subject(self, instance: int) -> LitObject:
        if instance not in self._lit:
            self._lit[instance] = lit(self.model(instance))
            if len(self._lit) > CACHED_OBJECTS:
                self._lit.popitem(last=False)
        self._lit.move_to_end(instance)
        return self._lit[instance]
