"""Scores of predicted objects and the simplest alternatives, by hand-worked numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from semantic_field.data.objects.object_cameras import poses_at, square_camera
from semantic_field.data.objects.object_model import ObjectModel, assembled
from semantic_field.data.objects.object_rendering import lit, render_views
from semantic_field.data.objects.object_surface import surface_samples
from semantic_field.data.objects.object_views import ObjectView
from semantic_field.data.objects.object_visibility import visible_points
from semantic_field.data.objects.procedural_objects import ProceduralObjects, ViewPlan, make_object
from semantic_field.data.room.shapes import Material, box
from semantic_field.evaluation.objects.object_view_scores import PredictedView, score_views
from semantic_field.evaluation.objects.simple_object_views import (
    NearestInstance,
    majority_view,
    warped,
)
from semantic_field.evaluation.objects.unet_baseline import UNetLabels, UNetPlan
from semantic_field.evaluation.objects.unseen_surface import TrueSurface, unseen_score
from semantic_field.geometry import look_at, transform_points

RED = Material("plain", (0.8, 0.1, 0.1))


def cube() -> ObjectModel:
    return assembled("thing", "cube", ("body",), {"body": [box((0, 0, 0), (1, 1, 1), RED)]})


def labelled(parts: list[list[int]], grey: int = 100) -> ObjectView:
    """A view of two pixels by two with these labels."""
    color = np.full((2, 2, 3), grey, np.uint8)
    return ObjectView(color, square_camera(2), np.eye(4), parts=np.array(parts, np.uint8))


def test_miou_is_of_each_image_over_classes_in_truth_or_prediction() -> None:
    truth = [labelled([[0, 0], [1, 1]]), labelled([[0, 0], [0, 0]])]
    guesses = [
        PredictedView(parts=np.array([[0, 0], [1, 2]], np.uint8)),
        PredictedView(parts=np.array([[0, 0], [0, 0]], np.uint8)),
    ]
    found = score_views(("a", "b", "c"), truth, guesses)
    # First image: background 2/2, a 1/2, b 0/1, c in neither: mean 1/2. Second: 1.
    assert found.miou == pytest.approx((0.5 + 1.0) / 2)
    assert np.isnan(found.psnr) and found.images == 2


def test_psnr_is_the_mean_over_images() -> None:
    truth = [labelled([[0, 0], [1, 1]], 100), labelled([[0, 0], [1, 1]], 100)]
    guesses = [PredictedView(np.full((2, 2, 3), grey, np.uint8)) for grey in (110, 101)]
    wanted = (10 * np.log10(255**2 / 100) + 10 * np.log10(255**2)) / 2
    found = score_views(("a",), truth, guesses)
    assert found.psnr == pytest.approx(wanted) and np.isnan(found.miou)
    with pytest.raises(ValueError, match="expected 2 predicted views, got 1"):
        score_views(("a",), truth, guesses[:1])


def test_a_camera_in_front_of_a_corner_sees_three_faces() -> None:
    samples = surface_samples(cube(), 4000, np.random.default_rng(0))
    seen = visible_points(cube(), samples.points, look_at((3, -3, 3), (0, 0, 0.5)))
    towards = (samples.normals @ np.array([1, -1, 1])) > 0.5
    assert (seen == towards).all() and seen.mean() == pytest.approx(0.5, abs=0.03)


def test_what_hides_a_point_is_found_as_the_depth_image_says() -> None:
    model, camera = make_object("chair", 7), square_camera(256)
    view = render_views(
        lit(model), camera, poses_at(model, camera, np.array([0.7]), np.array([0.4]))
    )
    samples = surface_samples(model, 4000, np.random.default_rng(0))
    seen = visible_points(model, samples.points, view[0].T_object_camera)
    T = np.linalg.inv(view[0].T_object_camera)
    index, columns, rows, z = camera.pixels_inside(transform_points(T, samples.points))
    assert view[0].depth is not None
    behind = z - view[0].depth[rows, columns]
    shown = view[0].depth[rows, columns] > 0
    assert seen[index][shown & (behind < 1e-3)].mean() > 0.95
    assert not seen[index][shown & (behind > 0.03)].any()


def test_chamfer_of_the_unseen_half_by_hand() -> None:
    """A cube from its front-right-top corner; predicted is its back face, 2 cm too far away."""
    truth = TrueSurface.of(cube(), look_at((3, -3, 3), (0, 0, 0.5)), count=20_000)
    back = truth.points[np.abs(truth.points[:, 1] - 0.5) < 1e-9] + [0, 0.02, 0]
    found = unseen_score(truth, back)
    assert found.share == pytest.approx(0.5, abs=0.02)
    assert found.accuracy_m == pytest.approx(0.02, abs=0.002)
    # Unseen are back, left and bottom. Of back points the way is .02; of a point of the others
    # the distance to the back is uniform over 0..1.
    assert found.completeness_m == pytest.approx((0.02 + 2 * 0.52) / 3, abs=0.02)
    assert found.chamfer_m == pytest.approx((found.accuracy_m + found.completeness_m) / 2)
    whole = unseen_score(truth, truth.points)
    assert whole.chamfer_m == 0.0
    assert np.isnan(unseen_score(truth, np.zeros((0, 3))).chamfer_m)


def test_the_nearest_instance_of_an_object_is_itself() -> None:
    train = ProceduralObjects("mug", range(6), ViewPlan(count=4, size=32, spiral=True))
    nearest = NearestInstance(train)
    for by_labels in (False, True):
        assert nearest.find(train.view(4, 2), 2, by_labels) == 4
    found = nearest.views(4, [1, 3])
    assert (np.asarray(found[1].color) == train.view(4, 3).color).all()
    assert (np.asarray(found[0].parts) == train.view(4, 1).parts).all()
    blind = replace(train.view(4, 2), parts=None)
    with pytest.raises(ValueError, match="expected part labels"):
        nearest.find(blind, 2, by_labels=True)


def test_a_view_warped_to_its_own_camera_is_itself() -> None:
    view = ProceduralObjects("table", (1,), ViewPlan(count=1, size=48)).view(0, 0)
    found = warped(view, view)
    assert view.mask is not None and found.color is not None and found.parts is not None
    assert (found.color[view.mask] == view.color[view.mask]).all()
    assert (found.parts[view.mask] == np.asarray(view.parts)[view.mask]).all()
    far = np.pad(view.mask, 3)
    grown = np.zeros_like(far)
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            grown |= np.roll(far, (dy, dx), (0, 1))
    assert (found.parts[~grown[3:-3, 3:-3]] == 0).all()
    with pytest.raises(ValueError, match="a view with depth"):
        warped(replace(view, depth=None), view)


def test_a_warped_view_moves_as_the_geometry_says() -> None:
    """A plane 2 m away, seen again from 1 m beside: focal 32.8 px, a shift of 16.4 pixels."""
    camera = square_camera(32)
    color = np.full((32, 32, 3), 255, np.uint8)
    color[10:20, 20:28] = 50
    depth = np.where(color[..., 0] < 255, 2.0, 0.0).astype(np.float32)
    beside = np.eye(4)
    beside[0, 3] = 1.0
    view = ObjectView(color, camera, np.eye(4), depth, (depth > 0).astype(np.uint8), depth > 0)
    found = warped(view, ObjectView(color, camera, beside))
    assert found.parts is not None
    columns = np.nonzero(found.parts.any(axis=0))[0]
    # 20..27 move to 3.6..10.6, rounded 4..11, and two pixels are filled at each side.
    assert (columns.min(), columns.max()) == (2, 13)


def test_the_majority_and_the_mean() -> None:
    found = majority_view([labelled([[0, 1], [1, 1]], 100), labelled([[1, 0], [1, 1]], 120)])
    assert found.parts is not None and found.color is not None
    assert (found.parts == 1).all() and (found.color == 110).all()
    with pytest.raises(ValueError, match="expected labelled views"):
        majority_view([replace(labelled([[0, 0], [0, 0]]), parts=None)])


def test_the_unet_learns_labels_that_colour_tells() -> None:
    """Red is 1, blue is 2: after a few steps unseen arrangements are labelled right."""
    random = np.random.default_rng(0)
    palette = np.array([[255, 255, 255], [200, 30, 30], [30, 30, 200]], np.uint8)
    blocks = [random.integers(0, 3, (4, 4)).astype(np.uint8) for _ in range(14)]
    parts = [np.kron(block, np.ones((8, 8), np.uint8)) for block in blocks]
    colors = [palette[labels] for labels in parts]
    plan = UNetPlan(steps=60, batch=4, rate=3e-3, first=8, downs=3, most=16)
    unet = UNetLabels(colors[:10], parts[:10], 3, plan)
    right = np.mean([(g == p).mean() for g, p in zip(unet(colors[10:]), parts[10:])])
    assert right > 0.9
    again = UNetLabels(colors[:10], parts[:10], 3, plan)
    assert (again(colors[10:11])[0] == unet(colors[10:11])[0]).all()
    with pytest.raises(ValueError, match="expected labels of 10 images, got 9"):
        UNetLabels(colors[:10], parts[:9], 3, plan)
