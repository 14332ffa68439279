"""Procedural objects: whole, plausible, various, and split so that tests see no training object."""

from __future__ import annotations

import numpy as np
import pytest

from semantic_field.data.objects.face_samples import face_areas, points_on_faces
from semantic_field.data.objects.object_model import ObjectModel
from semantic_field.data.objects.procedural_objects import (
    CATEGORIES,
    CATEGORY_FRAMES,
    PART_NAMES,
    TEST_SEEDS,
    TRAIN_SEEDS,
    ProceduralObjects,
    ViewPlan,
    make_object,
)
from semantic_field.data.objects.seats import ARMS, BACKS, BASES, random_chair
from semantic_field.data.objects.solid_distance import nearest_solids
from semantic_field.data.room.scene_tables import shape_tables

SIZES = {  # least and greatest extent along x, y, z, metres
    "chair": ((0.34, 0.34, 0.7), (0.7, 0.8, 1.1)),
    "table": ((0.35, 0.3, 0.3), (1.8, 1.35, 0.85)),
    "mug": ((0.08, 0.055, 0.07), (0.19, 0.14, 0.14)),
    "bottle": ((0.05, 0.05, 0.12), (0.11, 0.11, 0.4)),
    "lamp": ((0.1, 0.1, 0.25), (0.6, 0.7, 1.9)),
    "cabinet": ((0.35, 0.3, 0.4), (1.75, 0.7, 1.85)),
}
NEEDED = {
    "chair": {"seat", "backrest", "leg"},
    "table": {"top", "leg"},
    "mug": {"body", "handle"},
    "bottle": {"body", "neck", "cap"},
    "lamp": {"base", "pole", "shade"},
    "cabinet": {"body", "handle"},
}


def surface_of_each_solid(model: ObjectModel, count: int) -> list[np.ndarray]:
    """Random points (count, 3) on every face of each solid."""
    rng = np.random.default_rng(0)
    shapes, kinds = shape_tables(model.shapes)
    _, faces = face_areas(shapes, kinds)
    points = []
    for solid in range(len(kinds)):
        own = faces[faces[:, 0] == solid]
        chosen = own[np.arange(count) % len(own)]
        rows = shapes[chosen[:, 0]]
        local = points_on_faces(kinds[chosen[:, 0]], chosen[:, 1], rows[:, 3:6], rows[:, 15], rng)
        points.append(local @ model.shapes[solid].rotation.T + model.shapes[solid].centre)
    return points


def loose_solids(model: ObjectModel, tolerance: float = 2e-3, count: int = 300) -> set[int]:
    """The solids that hang together with the first one by no chain of touching solids."""
    shapes, kinds = shape_tables(model.shapes)
    points, n = surface_of_each_solid(model, count), len(kinds)
    every = np.concatenate(points)
    distances, nearest = np.empty(len(every)), np.empty(len(every), np.int64)
    touching = np.zeros((n, n), bool)
    for solid in range(n):
        nearest_solids(
            shapes[solid : solid + 1], kinds[solid : solid + 1], every, distances, nearest
        )
        touching[solid] = distances.reshape(n, -1).min(axis=1) < tolerance * model.radius()
    touching |= touching.T
    reached = np.zeros(n, bool)
    reached[0] = True
    for _ in range(n):
        reached = touching[reached].any(axis=0)
    return set(np.flatnonzero(~reached).tolist())


@pytest.mark.parametrize("category", CATEGORIES)
def test_objects_hang_together_and_are_of_plausible_size(category: str) -> None:
    low, high = np.array(SIZES[category])
    for seed in range(40):
        model = make_object(category, seed)
        assert not loose_solids(model), f"{model.name} falls apart"
        bounds = model.bounds()
        size = bounds[1] - bounds[0]
        assert (size >= low).all() and (size <= high).all(), f"{model.name}: {size}"
        assert bounds[0, 2] == pytest.approx(0, abs=1e-9)
        assert bounds[:, :2].sum(axis=0) == pytest.approx(0, abs=1e-9)
        canonical = CATEGORY_FRAMES[category].to_canonical(bounds)
        assert np.abs(canonical).max() < 1.13, f"{model.name}: {canonical}"


def test_the_test_of_connection_finds_a_loose_solid() -> None:
    model = make_object("chair", 0)
    apart = model.shapes[-1].moved(np.eye(3), (0, 0, 1.0))
    broken = ObjectModel("chair", "x", model.part_names, (*model.shapes[:-1], apart), model.parts)
    assert loose_solids(broken) == {len(model.shapes) - 1}


@pytest.mark.parametrize("category", CATEGORIES)
def test_needed_parts_are_there_and_all_are_seen(category: str) -> None:
    objects = ProceduralObjects(category, range(12), ViewPlan(count=10))
    names = PART_NAMES[category]
    for instance in range(12):
        own = {names[part] for part in objects.model(instance).parts}
        assert own >= NEEDED[category]
        seen = {
            names[part - 1]
            for view in objects.views(instance)
            for part in np.unique(view.parts)
            if part
        }
        assert seen == own, f"{objects.names[instance]}: {own - seen} hidden"


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_part_occurs(category: str) -> None:
    models = [make_object(category, seed) for seed in range(40)]
    found = {part for model in models for part in model.parts.tolist()}
    assert found == set(range(len(PART_NAMES[category])))


def test_chairs_come_in_every_form() -> None:
    designs = [random_chair(np.random.default_rng(seed)) for seed in range(300)]
    assert {design.base for design in designs} == set(BASES)
    assert {design.back for design in designs} == set(BACKS)
    assert {design.arms for design in designs} == set(ARMS)
    assert 30 < sum(design.round_seat for design in designs) < 90


def test_a_seed_makes_the_same_object_and_views_again() -> None:
    first, second = make_object("lamp", 5), make_object("lamp", 5)
    assert all((a.centre == b.centre).all() for a, b in zip(first.shapes, second.shapes))
    plan = ViewPlan(count=3, size=24)
    objects, again = (ProceduralObjects("lamp", (9, 5), plan) for _ in range(2))
    wanted = again.views(1)[2]
    view = objects.view(1, 2)
    assert (view.color == wanted.color).all() and (view.parts == wanted.parts).all()
    assert objects.view(1, 2) is view
    assert (make_object("lamp", 6).bounds() != first.bounds()).any()


def test_no_test_instance_is_trained_on() -> None:
    """Seeds, names, and the solids themselves differ between training and test objects."""
    assert len(TRAIN_SEEDS) >= 5000 and len(TEST_SEEDS) >= 5000
    assert not set(TRAIN_SEEDS) & set(TEST_SEEDS)
    for category in CATEGORIES:
        train = ProceduralObjects(category, TRAIN_SEEDS[:60])
        test = ProceduralObjects(category, TEST_SEEDS[:60])
        assert not set(train.names) & set(test.names)
        sizes = {
            tuple(np.round(make_object(category, seed).bounds().ravel(), 7))
            for seed in (*train.seeds, *test.seeds)
        }
        assert len(sizes) == 120


def test_views_of_a_spiral_are_none_of_the_training_views() -> None:
    train = ProceduralObjects("mug", (3,), ViewPlan(count=50))
    spiral = ProceduralObjects("mug", (3,), ViewPlan(count=50, spiral=True))
    positions = [objects.poses(0)[:, :3, 3] for objects in (train, spiral)]
    apart = np.linalg.norm(positions[0][:, None] - positions[1][None], axis=2)
    assert apart.min() > 1e-4


def test_bad_requests_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected one of chair, .*'sofa'"):
        make_object("sofa", 0)
    with pytest.raises(ValueError, match="seed of 0 or more, got -1"):
        make_object("chair", -1)
    with pytest.raises(ValueError, match="each seed once"):
        ProceduralObjects("chair", (1, 1))
