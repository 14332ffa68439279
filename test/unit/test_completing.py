"""Whole objects from one side with the prior of chairs that ships; merging and boxes by hand."""

from __future__ import annotations

from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from semantic_field.data.objects.object_surface import signed_distance
from semantic_field.data.objects.procedural_objects import make_object
from semantic_field.evaluation.objects.completed_part import (
    mirrored_points,
    true_surface,
    unseen_part_score,
)
from semantic_field.geometry import invert_transform, make_transform, transform_points
from semantic_field.object_prior.alignment import CategoryShapes
from semantic_field.object_prior.category_decision import CategoryDecision, LogisticModel
from semantic_field.object_prior.completing import complete
from semantic_field.object_prior.completion import NoPriorError
from semantic_field.object_prior.decision_fitting import OTHERS, known_scans
from semantic_field.object_prior.fit_quality import QUALITIES
from semantic_field.object_prior.object_evidence import evidence_of
from semantic_field.object_prior.one_sided_scans import cropped, observation, scan, solid_object
from semantic_field.object_prior.part_boxes import part_boxes
from semantic_field.object_prior.training.prior_files import load_prior

COUNT = len(QUALITIES)


def decision_that_says(score: float) -> CategoryDecision:
    """A decision with the same probability for every chair."""
    zeros = np.zeros(COUNT)
    return CategoryDecision({"chair": LogisticModel(zeros, np.ones(COUNT), zeros, score)})


@pytest.fixture(scope="module")
def shapes() -> dict[str, CategoryShapes]:
    prior = load_prior("chair").eval().requires_grad_(False)
    return {"chair": CategoryShapes.of(prior, prototypes=16)}


@pytest.fixture(scope="module")
def seen():
    return scan(make_object("chair", 10_004), np.random.default_rng(4), views=2)


@pytest.fixture(scope="module")
def whole(shapes, seen):
    return complete(seen.observed, shapes, decision_that_says(2.0))


def test_a_chair_is_completed(whole, seen):
    assert whole.category == "chair" and whole.part_names[0] == "seat"
    assert whole.confidence == pytest.approx(1 / (1 + np.exp(-2.0)))
    assert whole.residual_m < 0.02
    low, high = seen.model.bounds()
    assert np.abs(whole.size - (high - low)).max() < 0.12
    delta = invert_transform(seen.T_world_object) @ whole.T_world_object
    assert np.linalg.norm(delta[:3, 3]) < 0.08
    score = unseen_part_score(seen, whole)
    assert score.chamfer_m < 0.06 and score.chamfer_m < score.observed_m


def test_observed_points_stay_as_they_are_and_come_first(whole, seen):
    count = len(seen.observed.points)
    assert whole.observed[:count].all() and not whole.observed[count:].any()
    assert np.array_equal(whole.points[:count], seen.observed.points)
    assert np.array_equal(whole.normals[:count], seen.observed.normals)
    assert np.array_equal(whole.colors[:count], seen.observed.colors)
    rows = {len(part) for part in (whole.points, whole.normals, whole.colors, whole.parts)}
    assert rows == {len(whole.observed)}
    assert whole.parts.max() < len(whole.part_names)


def test_points_are_added_only_where_nothing_was_seen(whole, seen):
    added = whole.points[~whole.observed]
    assert len(added) > 100
    away, _ = cKDTree(seen.observed.points).query(added)
    assert away.min() > 0.02
    evidence = evidence_of(seen.observed)
    level = transform_points(invert_transform(evidence.T_world_level), added)
    assert not evidence.seen_free(level, 0.4 * evidence.tolerance_m).any()
    assert np.allclose(np.linalg.norm(whole.normals[~whole.observed], axis=1), 1, atol=1e-3)


def test_what_does_not_fit_is_refused(shapes, seen):
    with pytest.raises(NoPriorError, match="no prior for this object: the best fit, chair"):
        complete(seen.observed, shapes, decision_that_says(-2.0))
    with pytest.raises(NoPriorError, match="no prior for this 'chair': it fits no chair"):
        complete(seen.observed, shapes, decision_that_says(-2.0), "chair")


def test_a_category_without_a_prior_is_refused(shapes, seen):
    with pytest.raises(NoPriorError, match="no prior for 'sofa': there are priors for chair"):
        complete(seen.observed, shapes, decision_that_says(2.0), "sofa")


def test_part_boxes_by_hand():
    rng = np.random.default_rng(0)
    seat = rng.uniform([-0.2, -0.2, 0.4], [0.2, 0.2, 0.5], (3000, 3))
    back = rng.uniform([-0.2, 0.15, 0.5], [0.2, 0.2, 0.9], (1000, 3))
    turned = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    pose = make_transform(turned, [1.0, 2.0, 0.0])
    points = transform_points(pose, np.concatenate([seat, back, [[0.0, 0, 0]]]))
    parts = np.repeat([0, 1, 2], [3000, 1000, 1]).astype(np.uint8)
    boxes = part_boxes(points, parts, np.arange(4001) < 750, ("seat", "backrest", "leg"), pose)
    assert [box.name for box in boxes] == ["seat", "backrest"]  # one point is no leg
    assert np.allclose(boxes[0].size, [0.4, 0.4, 0.1], atol=0.02)
    assert boxes[0].observed == pytest.approx(0.25) and boxes[1].observed == 0
    assert np.allclose(boxes[1].T_world_part[:3, 3], [1 - 0.175, 2.0, 0.7], atol=0.01)
    assert np.allclose(boxes[1].T_world_part[:3, :3], turned)
    assert boxes[0].point_count == 3000


def test_observed_points_lie_on_the_true_surface_of_one_side(seen):
    own = transform_points(invert_transform(seen.T_world_object), seen.observed.points)
    off = np.abs(signed_distance(seen.model, own))
    assert np.median(off) < 0.012 and np.quantile(off, 0.95) < 0.05
    truth = true_surface(seen)
    assert 0.3 < (~truth.seen).mean() < 0.9
    nearest, _ = cKDTree(own).query(truth.points)
    assert np.median(nearest[truth.seen]) < 0.02 < np.median(nearest[~truth.seen])


def test_normals_point_towards_the_cameras(seen):
    first = seen.observed.views[0]
    part = observation((first,))
    towards = first.T_world_camera[:3, 3] - part.points
    assert ((part.normals * towards).sum(1) > 0).mean() > 0.99
    assert np.allclose(np.linalg.norm(part.normals, axis=1), 1, atol=1e-3)


def test_crops_show_the_same_rays(seen):
    view = seen.observed.views[0]
    again = cropped(view.color, view.depth, view.mask, view.camera, view.T_world_camera, rim=1)
    rows, columns = np.nonzero(again.mask)
    point = again.camera.lift(columns[0], rows[0], 2.0)
    pixel, _ = view.camera.project(point)
    u, v = np.rint(pixel).astype(int)
    assert view.mask[v, u] and view.depth[v, u] == again.depth[rows[0], columns[0]]
    with pytest.raises(ValueError, match="pixels of the object in the mask"):
        cropped(view.color, view.depth, view.mask & False, view.camera, view.T_world_camera)


def test_mirrored_points_by_hand():
    turned = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # the object's x is the world's y
    found = SimpleNamespace(T_world_object=make_transform(turned, [1.0, 2.0, 0.0]))
    assert np.allclose(mirrored_points(np.array([[1.5, 2.5, 0.3]]), found), [[1.5, 1.5, 0.3]])


def test_known_things_are_the_same_each_time_and_of_all_kinds():
    first = list(known_scans(("mug",), 1, 1))
    again = islice(known_scans(("mug",), 1, 1), 3)
    assert [name for name, _ in first] == ["mug", *OTHERS]
    assert all(
        np.array_equal(a.observed.points, b.observed.points)
        for (_, a), (_, b) in zip(first, again)
    )


def test_a_thing_without_parts_stands_on_its_own_ground():
    thing = solid_object("boxes", OTHERS["boxes"](np.random.default_rng(0)))
    low, high = thing.bounds()
    assert low[2] == pytest.approx(0) and thing.part_names == ("body",)
    assert np.allclose(low[:2] + high[:2], 0)
