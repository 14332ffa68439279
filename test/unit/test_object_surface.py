"""True surfaces: samples and signed distances against formulas and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from semantic_field.data.objects.face_samples import face_areas
from semantic_field.data.objects.object_cameras import poses_at, square_camera
from semantic_field.data.objects.object_model import ObjectModel, assembled
from semantic_field.data.objects.object_rendering import lit, render_views
from semantic_field.data.objects.object_surface import (
    nearest_parts,
    signed_distance,
    surface_samples,
)
from semantic_field.data.objects.procedural_objects import make_object
from semantic_field.data.objects.solid_distance import (
    box_distance,
    cone_distance,
    ellipsoid_distance,
)
from semantic_field.data.room.scene_tables import shape_tables
from semantic_field.data.room.shapes import Material, box, cylinder, ellipsoid

RED = Material("plain", (0.8, 0.1, 0.1))


def stacked() -> ObjectModel:
    """Two cubes of 1 m on top of each other: their common face is inside."""
    low, high = box((0, 0, 0), (1, 1, 1), RED), box((0, 0, 1), (1, 1, 2), RED)
    return assembled("thing", "stack", ("low", "high"), {"low": [low], "high": [high]})


def test_distances_to_solids_by_hand() -> None:
    assert box_distance(1.0, 2.0, 3.0, (1.5, 0.0, 0.0)) == pytest.approx(0.5)
    assert box_distance(1.0, 2.0, 3.0, (4.0, 6.0, 0.0)) == pytest.approx(5.0)
    assert box_distance(1.0, 2.0, 3.0, (0.25, 0.0, 2.9)) == pytest.approx(-0.1)
    assert cone_distance(1.0, 1.0, 1.0, (3.0, 0.0, 0.0)) == pytest.approx(2.0)
    assert cone_distance(1.0, 1.0, 1.0, (0.1, 0.0, 0.7)) == pytest.approx(-0.3)
    # A full cone of slope 2: the side runs from (1, -1) to (0, 1) in the half plane.
    assert cone_distance(1.0, 1.0, 0.0, (0.0, 0.0, 0.0)) == pytest.approx(-1 / np.sqrt(5))
    assert cone_distance(1.0, 1.0, 0.0, (0.0, 0.0, 3.0)) == pytest.approx(2.0)
    assert ellipsoid_distance(1.0, 2.0, 3.0, (0.0, 0.0, 4.0)) == pytest.approx(1.0)
    assert ellipsoid_distance(1.0, 2.0, 3.0, (0.0, 0.0, 0.0)) == pytest.approx(-1.0)
    assert ellipsoid_distance(2.0, 2.0, 2.0, (3.0, 0.0, 4.0)) == pytest.approx(3.0)


def test_distance_to_an_ellipsoid_against_brute_force() -> None:
    rng, half = np.random.default_rng(1), np.array([0.3, 0.7, 0.15])
    unit = rng.standard_normal((400_000, 3))
    surface = cKDTree(unit / np.linalg.norm(unit, axis=1, keepdims=True) * half)
    points = rng.uniform(-1, 1, (50, 3))
    inside = (np.square(points / half).sum(axis=1) < 1).tolist()
    wanted = surface.query(points)[0] * np.where(inside, -1, 1)
    found = [ellipsoid_distance(*half, tuple(point)) for point in points]
    assert found == pytest.approx(wanted, abs=2e-3)


def test_areas_of_faces() -> None:
    solids = [
        box((0, 0, 0), (1, 2, 3), RED),
        cylinder((0, 0, 0), 1.0, 2.0, RED, top=0.5),
        ellipsoid((0, 0, 0), (2, 2, 2), RED),
    ]
    areas, faces = face_areas(*shape_tables(solids))
    assert areas[:6] == pytest.approx([6, 6, 3, 3, 2, 2])
    assert areas[6:9] == pytest.approx([np.pi * 1.5 * np.hypot(2, 0.5), np.pi, np.pi / 4])
    assert areas[9] == pytest.approx(16 * np.pi, rel=1e-6)
    assert faces[6:].tolist() == [[1, 0], [1, 1], [1, 2], [2, 0]]


def test_samples_leave_out_the_face_inside_and_are_even() -> None:
    samples = surface_samples(stacked(), 9000, np.random.default_rng(0))
    points, normals = samples.points, samples.normals
    assert not ((np.abs(points[:, 2] - 1) < 1e-6) & (np.abs(normals[:, 2]) > 0.5)).any()
    outer = np.abs(points[:, :2]).max(axis=1) > 0.5 - 1e-9
    assert (outer | (points[:, 2] < 1e-9) | (points[:, 2] > 2 - 1e-9)).all()
    # Ten square metres: two of them are the bottom and the top, each side has two.
    assert (normals[:, 2] > 0.9).mean() == pytest.approx(0.1, abs=0.012)
    assert (normals[:, 0] > 0.9).mean() == pytest.approx(0.2, abs=0.015)
    assert ((samples.parts == 1) == (points[:, 2] > 1)).all()


def test_samples_of_round_solids_are_even() -> None:
    """Shares of area above a height: of a cone's side, and of a ball (Archimedes)."""
    cone = assembled("thing", "c", ("a",), {"a": [cylinder((0, 0, 0), 1, 1, RED, top=0.5)]})
    samples = surface_samples(cone, 20_000, np.random.default_rng(0))
    side = samples.points[(np.abs(samples.normals[:, 2]) < 0.9)]
    assert (side[:, 2] > 0.5).mean() == pytest.approx((0.75 + 0.5) / (1.5 * 2), abs=0.012)
    ball = assembled("thing", "b", ("a",), {"a": [ellipsoid((0, 0, 0), (1, 1, 1), RED)]})
    samples = surface_samples(ball, 20_000, np.random.default_rng(0))
    assert (samples.points[:, 2] > 1.5).mean() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("category", ["chair", "mug", "lamp"])
def test_samples_are_on_the_surface_and_normals_point_outwards(category: str) -> None:
    model = make_object(category, 2)
    samples = surface_samples(model, 3000, np.random.default_rng(0))
    scale = model.radius()
    found = np.abs(signed_distance(model, samples.points))
    assert np.quantile(found, 0.99) < 2e-4 * scale and found.max() < 5e-3 * scale
    assert np.linalg.norm(samples.normals, axis=1) == pytest.approx(1.0)
    step = 1e-3 * scale * samples.normals
    outside = signed_distance(model, samples.points + step) / scale
    assert np.quantile(outside, 0.05) == pytest.approx(1e-3, rel=0.01)
    inside = signed_distance(model, samples.points - step) / scale
    assert np.quantile(inside, 0.95) == pytest.approx(-1e-3, rel=0.01)


def test_distance_inside_touching_solids_is_negative() -> None:
    points = np.array(
        [[0, 0, 1.0], [0, 0, 0.4], [0, 0, 2.5], [1.0, 0, 1.0], [0.49, 0, 1.0], [0.2, 0, 0.999]]
    )
    distances = signed_distance(stacked(), points)
    assert distances == pytest.approx([-0.5, -0.4, 0.5, 0.5, -0.01, -0.3], abs=1e-6)


def test_nearest_parts() -> None:
    points = np.array([[0, 0, 0.5], [0, 0, 1.5], [3, 0, 0.1], [0, 0, 5.0]])
    assert nearest_parts(stacked(), points).tolist() == [0, 1, 0, 1]


def test_samples_have_the_colour_that_views_show() -> None:
    model, camera = make_object("mug", 4), square_camera(128)
    view = render_views(
        lit(model), camera, poses_at(model, camera, np.array([0.4]), np.array([0.3]))
    )[0]
    samples = surface_samples(model, 6000, np.random.default_rng(0))
    T = np.linalg.inv(view.T_object_camera)
    index, columns, rows, z = camera.pixels_inside(samples.points @ T[:3, :3].T + T[:3, 3])
    assert view.depth is not None
    visible = np.abs(view.depth[rows, columns] - z) < 5e-4
    assert visible.sum() > 800
    shown = view.color[rows[visible], columns[visible]].astype(int)
    difference = np.abs(shown - samples.colors[index[visible]])
    assert np.median(difference) <= 2 and (difference.mean(axis=1) < 12).mean() > 0.9
