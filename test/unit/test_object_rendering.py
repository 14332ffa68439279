"""Views of single objects: depth, masks and parts of solids worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from semantic_field.data.objects.object_cameras import (
    HIGHEST,
    LOWEST,
    poses_at,
    random_poses,
    spiral_poses,
    square_camera,
)
from semantic_field.data.objects.object_model import ObjectModel, assembled
from semantic_field.data.objects.object_rendering import lit, render_object, render_views
from semantic_field.data.room.shapes import Material, box, cylinder, ellipsoid
from semantic_field.geometry import look_at, transform_points

RED, WHITE = Material("plain", (0.8, 0.1, 0.1)), Material("plain", (0.9, 0.9, 0.9))


def two_boxes() -> ObjectModel:
    """A red cube of 1 m, and a flat white one on it."""
    low = box((2.0, 3.0, 1.0), (3.0, 4.0, 2.0), RED)
    high = box((2.25, 3.25, 2.0), (2.75, 3.75, 2.2), WHITE)
    return assembled("thing", "one", ("foot", "head"), {"foot": [low], "head": [high]})


def test_the_origin_is_on_the_ground_under_the_middle() -> None:
    assert two_boxes().bounds() == pytest.approx(np.array([[-0.5, -0.5, 0], [0.5, 0.5, 1.2]]))
    assert two_boxes().radius() == pytest.approx(0.5 * np.sqrt(1 + 1 + 1.44))


def test_unknown_parts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected parts among .*'top'"):
        assembled("thing", "one", ("foot",), {"top": [box((0, 0, 0), (1, 1, 1), RED)]})


def test_depth_and_parts_of_a_view_from_the_front() -> None:
    camera = square_camera(64)
    view = render_object(two_boxes(), camera, look_at((0, -3, 0.5), (0, 0, 0.5)))
    assert view.depth is not None and view.parts is not None and view.mask is not None
    # The front face lies 2.5 m away: half a metre is 131.25 / 2 * .5 / 2.5 = 13.125 pixels.
    rows, columns = np.nonzero(view.parts == 1)
    assert (columns.min(), columns.max()) == (19, 44)
    assert (rows.min(), rows.max()) == (19, 44)
    assert view.depth[view.parts == 1] == pytest.approx(2.5, abs=1e-5)
    # The head's front is 2.75 m away, z = 1.0 .. 1.2: rows 31.5 - 65.625 * (.5 .. .7) / 2.75.
    rows, columns = np.nonzero(view.parts == 2)
    assert (rows.min(), rows.max()) == (15, 18)
    assert (columns.min(), columns.max()) == (26, 37)
    assert view.depth[view.parts == 2] == pytest.approx(2.75, abs=1e-5)
    assert (view.mask == (view.parts > 0)).all() and (view.mask == (view.depth > 0)).all()


def test_background_is_white_and_the_object_has_its_colour() -> None:
    view = render_object(two_boxes(), square_camera(64), look_at((0, -3, 0.5), (0, 0, 0.5)))
    assert (view.color[:10] == 255).all() and (view.color[:, :15] == 255).all()
    inner = view.color[24:40, 24:40].reshape(-1, 3).astype(int)
    assert (inner[:, 0] > inner[:, 1] + 60).all()


def test_depth_of_round_solids_agrees_with_their_equations() -> None:
    ball = ellipsoid((0, 0, 0.5), (0.3, 0.4, 0.5), RED)
    tub = cylinder((0, 0, 1.0), 0.2, 0.4, WHITE, top=0.5)
    model = assembled("thing", "two", ("ball", "tub"), {"ball": [ball], "tub": [tub]})
    camera = square_camera(48)
    view = render_object(model, camera, look_at((0.9, -1.2, 2.6), model.middle()))
    assert view.depth is not None and view.parts is not None
    points = transform_points(view.T_object_camera, camera.backproject(view.depth))
    on_ball = points[view.parts == 1]
    assert len(on_ball) > 50
    radii = (((on_ball - [0, 0, 0.5]) / [0.3, 0.4, 0.5]) ** 2).sum(axis=1)
    assert radii == pytest.approx(1.0, abs=1e-4)
    on_tub = points[view.parts == 2]
    rho, z = np.hypot(on_tub[:, 0], on_tub[:, 1]), on_tub[:, 2]
    side = np.abs(rho - (0.2 - 0.1 * (z - 1.0) / 0.4)) < 1e-4
    assert (side | (np.abs(z - 1.4) < 1e-4)).all() and side.any() and not side.all()


def test_light_comes_from_above_and_does_not_depend_on_size() -> None:
    cube = assembled("thing", "a", ("b",), {"b": [box((0, 0, 0), (1, 1, 1), WHITE)]})
    small = assembled("thing", "a", ("b",), {"b": [box((0, 0, 0), (0.1, 0.1, 0.1), WHITE)]})
    camera, turns = square_camera(48), (np.array([0.5]), np.array([0.6]))
    large_view = render_views(lit(cube), camera, poses_at(cube, camera, *turns))[0]
    small_view = render_views(lit(small), camera, poses_at(small, camera, *turns))[0]
    difference = large_view.color.astype(int) - small_view.color
    assert np.abs(difference).mean() < 2  # the textures are coarser on the small one
    assert large_view.depth is not None
    points = transform_points(large_view.T_object_camera, camera.backproject(large_view.depth))
    top = large_view.color[(points[..., 2] > 0.999) & (large_view.depth > 0)].mean()
    front = large_view.color[(points[..., 1] < -0.499) & (large_view.depth > 0)].mean()
    assert top > front + 5


def test_cameras_look_at_the_middle_and_the_object_fits_in() -> None:
    model, camera = two_boxes(), square_camera(64)
    for poses in (
        random_poses(model, camera, 20, np.random.default_rng(0)),
        spiral_poses(model, camera, 20),
    ):
        middle = np.linalg.inv(poses) @ np.append(model.middle(), 1)
        assert middle[:, :2] == pytest.approx(0, abs=1e-9)
        heights = np.arcsin((poses[:, 2, 3] - 0.6) / middle[:, 2])
        assert heights.min() > LOWEST - 1e-9 and heights.max() < HIGHEST + 1e-9
        for view in render_views(lit(model), camera, poses[:6]):
            assert view.mask is not None and view.mask.sum() > 0.2 * 64 * 64
            rim = [view.mask[0], view.mask[-1], view.mask[:, 0], view.mask[:, -1]]
            assert not np.concatenate(rim).any()


def test_the_first_random_views_do_not_depend_on_their_number() -> None:
    model, camera = two_boxes(), square_camera(64)
    few = random_poses(model, camera, 3, np.random.default_rng(4))
    many = random_poses(model, camera, 9, np.random.default_rng(4))
    assert (few == many[:3]).all()
