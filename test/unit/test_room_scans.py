"""Pieces of the simulated room as observations with truth: hand-made frames of a turned box."""

from __future__ import annotations

import numpy as np

from semantic_field.data.room.layout import Layout
from semantic_field.data.room.shapes import Material, box, extent
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, look_at, transform_points
from semantic_field.object_prior.room_scans import LEAST_PIXELS, piece_scan

CAMERA = Camera(60.0, 60.0, 31.5, 23.5, 64, 48)


def room_with_a_box():
    """A box 0.6 x 0.2 x 1 m whose own frame is not in its middle, turned by 90 degrees."""
    layout = Layout(np.random.default_rng(0), (6.0, 5.0, 2.5), (1, 1))
    shapes = [box((0.0, -0.1, 0.0), (0.6, 0.1, 1.0), Material())]
    return layout.place("tv", shapes, (1.0, 2.0), np.pi / 2)


def frame_of(piece, pixels: int, stamp_ns: int) -> Frame:
    """A view in which so many columns show the piece, 2 m away, before a wall at 3 m."""
    pose = look_at((1.0, 0.0, 0.5), (1.0, 2.0, 0.5))
    instances = np.full((48, 64), -1, np.int32)
    instances[8:40, 20 : 20 + pixels] = piece.instance
    depth = np.where(instances == piece.instance, 2.0, 3.0).astype(np.float32)
    color = np.full((48, 64, 3), stamp_ns, np.uint8)
    return Frame(stamp_ns, color, depth, CAMERA, pose, instances, instances)


def test_the_true_object_lies_where_the_piece_does():
    piece = room_with_a_box()
    seen = piece_scan(piece, [frame_of(piece, 20, 1)], views=2)
    assert seen is not None and seen.model.name == "tv"
    low, high = seen.model.bounds()
    assert np.allclose([low, high], [[-0.3, -0.1, 0], [0.3, 0.1, 1.0]])
    corners = transform_points(seen.T_world_object, np.array([low, high]))
    truth = extent(list(piece.shapes))  # turned by 90 degrees: x of the world = -y of its own
    assert np.allclose([corners.min(0), corners.max(0)], truth)


def test_the_views_that_show_most_are_taken():
    piece = room_with_a_box()
    frames = [frame_of(piece, count, count) for count in (12, 30, 3, 20)]
    seen = piece_scan(piece, frames, views=2)
    assert seen is not None
    assert [view.color[0, 0, 0] for view in seen.observed.views] == [30, 20]
    view = seen.observed.views[0]
    assert view.mask.sum() == 30 * 32 and view.mask.shape == (32 + 12, 30 + 12)
    assert np.allclose(seen.observed.points[:, 1].round(2), 2.0)  # 2 m before the camera


def test_what_is_hardly_seen_is_left_out():
    piece = room_with_a_box()
    few = LEAST_PIXELS // 32
    assert piece_scan(piece, [frame_of(piece, few, 1)], views=2) is None
