"""Views of an object from keyframes: which are chosen, and what is the object in them."""

from __future__ import annotations

import numpy as np
import pytest

from semantic_field.field.views.source_views import SourceViews
from semantic_field.frames import Frame
from semantic_field.geometry import (
    Camera,
    invert_transform,
    look_at,
    make_transform,
    transform_points,
)
from semantic_field.mapping.keyframe_views import KeyframeViews
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.object_prior.best_views import best_views, chosen, visible
from semantic_field.object_prior.object_crops import SurroundedObject, crop_of

CAMERA = Camera(40.0, 40.0, 32.0, 24.0, 65, 49)  # at the origin, looking along z
BOARD, WALL, POST = 2.0, 3.0, 1.0  # z of what there is, metres


def sheet(low, high, z: float, step: float = 0.025) -> np.ndarray:
    x, y = np.meshgrid(
        np.arange(low[0], high[0] + 1e-6, step), np.arange(low[1], high[1] + 1e-6, step)
    )
    return np.stack([x.ravel(), y.ravel(), np.full(x.size, z)], 1)


# A board of 40 x 40 cm: columns 28 to 36, rows 20 to 28. A post before it hides two columns.
THING = SurroundedObject(
    points=sheet((-0.2, -0.2), (0.2, 0.2), BOARD),
    around=np.concatenate(
        [sheet((-1, -1), (1, 1), WALL), sheet((-0.16, -0.7), (-0.07, 0.7), POST, 0.01)]
    ),
)
NORMALS = np.tile([0.0, 0.0, -1.0], (len(THING.points), 1))


def picture() -> Frame:
    depth = np.full((49, 65), WALL, np.float32)
    depth[20:29, 28:37] = BOARD
    depth[:, 26:30] = POST
    depth[22, 33] = 0.0
    color = np.zeros((49, 65, 3), np.uint8)
    color[20:29, 28:37] = (200, 100, 50)
    return Frame(1, color, depth, CAMERA, np.eye(4))


def sources_of(*frames: Frame) -> SourceViews:
    store = KeyframeStore(65, 49, budget_mb=4, depth_range_m=(0.1, 20.0))
    for frame in frames:
        store.add(frame, None)
    views = KeyframeViews(lambda: store, lambda: []).all()
    assert views is not None
    return views


def test_a_crop_tells_the_object_from_what_hides_it_and_from_what_is_free():
    crop = crop_of(THING, sources_of(picture()), 0, side=112)
    assert crop is not None
    # four pixels around columns 28 to 36 and rows 20 to 28
    assert (crop.camera.cx, crop.camera.cy) == (32 - 24, 24 - 16) and crop.mask.shape == (17, 17)
    mask = np.zeros((49, 65), bool)
    mask[20:29, 30:37] = True
    mask[22, 33] = False
    others = np.zeros((49, 65), bool)
    others[:, 26:30] = True  # nearer, before the board and beside it
    others[22, 33] = True  # no reading
    assert np.array_equal(crop.mask, mask[16:33, 24:41])
    assert np.array_equal(crop.others, others[16:33, 24:41])
    assert crop.depth[6, 9] == 0.0 and crop.depth[5, 9] == BOARD
    assert crop.color[5, 9].tolist() == [200, 100, 50] and crop.color[0, 16].tolist() == [0, 0, 0]


def test_a_small_crop_shows_the_same_places():
    crop = crop_of(THING, sources_of(picture()), 0, side=9)
    assert crop is not None and crop.mask.shape == (9, 9)
    v, u = np.nonzero(crop.mask)
    places = crop.camera.lift(u, v, crop.depth[v, u])
    assert np.abs(places[:, :2]).max() < 0.2 + BOARD / 40 and np.allclose(places[:, 2], BOARD)
    pixels, _ = crop.camera.project(np.array([[0.1, 0.1, BOARD], [0.5, 0.0, BOARD]]))
    assert crop.mask[tuple(np.rint(pixels[0]).astype(int)[::-1])]
    assert np.rint(pixels[1])[0] >= 9  # outside


def test_what_lies_behind_the_observed_box_is_free_and_what_cuts_it_hides():
    """A thick thing of which only the front is known to its full depth: 2.0 to 2.4 m."""
    front, side = sheet((-0.2, -0.2), (0.2, 0.2), 2.0), sheet((-0.2, -0.2), (0.2, 0.2), 2.4)
    thing = SurroundedObject(np.concatenate([front, side]), sheet((-1, -1), (1, 1), 2.2))
    depth = np.full((49, 65), 2.2, np.float32)  # a sheet through the middle of the box
    depth[:, 32:] = 2.5
    depth[23:26, 31:34] = 2.0
    crop = crop_of(
        thing,
        sources_of(Frame(1, np.zeros((49, 65, 3), np.uint8), depth, CAMERA, np.eye(4))),
        0,
        112,
    )
    assert crop is not None and crop.mask.sum() == 9
    row, left, right = 24 - round(CAMERA.cy - crop.camera.cy), 29, 35
    shift = round(CAMERA.cx - crop.camera.cx)
    assert crop.others[row, left - shift] and not crop.others[row, right - shift]


def test_a_keyframe_that_does_not_show_the_object_gives_no_crop():
    away = Frame(
        1, picture().color, picture().depth, CAMERA, look_at([0, 0, 0], [0, 0, -1], [0, 1, 0])
    )
    aside = np.full((49, 65), 1.0, np.float32)  # something hides all of it
    hidden = Frame(2, picture().color, aside, CAMERA, np.eye(4))
    sources = sources_of(away, hidden)
    assert crop_of(THING, sources, 0, 112) is None and crop_of(THING, sources, 1, 112) is None
    assert best_views(THING, NORMALS, sources) == ()


def test_a_point_is_visible_if_it_faces_the_camera_and_nothing_is_before_it():
    sources = sources_of(picture())
    points = np.array(
        [
            [0.0, 0.0, BOARD],
            [0.0, 0.0, BOARD],  # turned away
            [-0.15, 0.0, BOARD],  # behind the post
            [0.0, 0.0, BOARD + 0.5],  # behind the board
            [0.05, -0.1, BOARD],  # no reading there
            [9.0, 0.0, BOARD],  # beside the image
            [0.0, 0.0, -BOARD],  # behind the camera
        ]
    )
    normals = np.tile([0.0, 0.0, -1.0], (7, 1))
    normals[1] = [0, 0, 1]
    assert visible(points, normals, sources, 0).tolist() == [True] + 6 * [False]


X, Y = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])


def between(degrees: float) -> np.ndarray:
    return np.cos(np.radians(degrees)) * X + np.sin(np.radians(degrees)) * Y


def test_views_are_chosen_for_points_not_seen_yet():
    seen = np.array([[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]], bool)
    directions = np.stack([X, X, Y])
    # 4 points, then 2 new ones; the first view adds nothing from the same direction
    assert chosen(seen, directions, np.ones(3), most=4) == [1, 2]
    assert chosen(seen, directions, np.ones(3), most=1) == [1]


def test_views_are_chosen_for_other_directions():
    seen = np.ones((3, 5), bool)
    directions = np.stack([X, between(10), between(50)])
    # the first of equals; then 50 degrees are worth .5 * 50 / 60, and 10 degrees less
    assert chosen(seen, directions, np.ones(3), most=2) == [0, 2]


def test_a_sharper_view_is_worth_more():
    seen = np.array([[1, 1, 1, 1], [1, 1, 1, 0]], bool)
    assert chosen(seen, np.stack([X, X]), np.array([0.5, 1.0]), most=1) == [1]
    assert chosen(np.zeros((2, 4), bool), np.stack([X, X]), np.ones(2), most=2) == []


def looking_from(degrees: float) -> Frame:
    """The board as a camera sees it from the side, its middle 2 m away; nothing else is there."""
    eye = np.array([0, 0, BOARD]) + 2.0 * np.array(
        [np.sin(np.radians(degrees)), 0, -np.cos(np.radians(degrees))]
    )
    pose = look_at(eye, [0, 0, BOARD], [0, -1, 0])
    rays = CAMERA.rays().astype(float) @ pose[:3, :3].T
    z = (BOARD - eye[2]) / rays[..., 2]
    where = eye + z[..., None] * rays
    meets = (np.abs(where[..., :2]) <= 0.2).all(-1) & (z > 0)
    return Frame(
        1, np.zeros((49, 65, 3), np.uint8), np.where(meets, z, 5.0).astype(np.float32), CAMERA, pose
    )


def test_the_best_views_come_from_different_sides_with_their_poses():
    sources = sources_of(*(looking_from(degrees) for degrees in (0, 4, 45, -40)))
    views = best_views(THING, NORMALS, sources, most=3)
    sides = [
        np.degrees(np.arctan2(v.T_world_camera[0, 3], BOARD - v.T_world_camera[2, 3]))
        for v in views
    ]
    assert (
        len(views) == 3
        and {round(side) for side in sides} & {45}
        and {round(side) for side in sides} & {-40}
    )
    for view in views:
        v, u = np.nonzero(view.mask)
        where = transform_points(view.T_world_camera, view.camera.lift(u, v, view.depth[v, u]))
        assert np.abs(where[:, 2] - BOARD).max() < 1e-3 and np.abs(where[:, :2]).max() < 0.2 + 1e-3
        assert len(v) > 20 and not (view.mask & view.others).any()


@pytest.mark.parametrize("shift", [(0, 0, 0), (3.0, -2.0, 1.0)])
def test_crops_move_with_the_map(shift):
    T = make_transform(np.eye(3), shift)
    frame = picture()
    moved = Frame(1, frame.color, frame.depth, CAMERA, T)
    thing = SurroundedObject(THING.points + shift, THING.around + shift)
    crop = crop_of(thing, sources_of(moved), 0, 112)
    still = crop_of(THING, sources_of(frame), 0, 112)
    assert crop is not None and still is not None
    assert np.array_equal(crop.mask, still.mask) and np.array_equal(crop.others, still.others)
    assert np.allclose(crop.T_world_camera @ invert_transform(T), np.eye(4), atol=1e-6)
