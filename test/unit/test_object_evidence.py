"""What an observation says: level frame, support, and space seen to be free, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from semantic_field.geometry import Camera, make_transform, transform_points
from semantic_field.object_prior.completion import ObservedObject, ObservedView
from semantic_field.object_prior.object_evidence import evidence_of, thinned

FORWARD = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float)  # camera z along the world's y


def plate_and_wall(depth_of_plate: float = 2.0, floor: bool = False) -> ObservedView:
    """A camera at the origin that looks along +y: a plate in the middle, a wall 4 m away."""
    camera = Camera(50.0, 50.0, 19.5, 19.5, 40, 40)
    depth = np.full((40, 40), 4.0, np.float32)
    mask = np.zeros((40, 40), bool)
    mask[12:28, 12:28] = True
    depth[mask] = depth_of_plate
    if floor:
        depth[30:] = np.clip(0.4 * 50 / (np.arange(30, 40) - 19.5), 0, 4)[:, None]
    color = np.zeros((40, 40, 3), np.uint8)
    pose = make_transform(FORWARD, [0, 0, 0])
    return ObservedView(color, depth, mask, np.zeros((40, 40), bool), camera, pose)


def observed(view: ObservedView) -> ObservedObject:
    points = view.camera.backproject(view.depth)[view.mask]
    points = transform_points(view.T_world_camera, points.astype(float))
    normals = np.tile([0.0, -1.0, 0.0], (len(points), 1))
    colors = np.zeros((len(points), 3), np.uint8)
    return ObservedObject(points, normals, colors, (view,), np.array([0.0, 0.0, 1.0]))


def test_space_is_free_before_the_plate_and_beside_it_but_not_behind():
    evidence = evidence_of(observed(plate_and_wall()))
    world = np.array(
        [
            [0.0, 1.5, 0.0],  # before the plate
            [0.0, 2.5, 0.0],  # behind it
            [0.7, 2.5, 0.0],  # beside it, before the wall
            [0.7, 4.5, 0.0],  # beside it, behind the wall
            [0.0, -1.0, 0.0],  # behind the camera
            [0.0, 1.97, 0.0],  # before the plate by less than the margin
        ]
    )
    level = transform_points(np.linalg.inv(evidence.T_world_level), world)
    free = evidence.seen_free(level, 0.05)
    assert free.tolist() == [True, False, True, False, False, False]


def test_what_others_hide_is_not_free():
    view = plate_and_wall()
    view.others[:, 30:] = True
    evidence = evidence_of(observed(view))
    beside = np.array([[0.7, 2.5, 0.0], [-0.7, 2.5, 0.0]])
    level = transform_points(np.linalg.inv(evidence.T_world_level), beside)
    assert evidence.seen_free(level, 0.05).tolist() == [False, True]


def test_random_free_places_are_free_and_many():
    evidence = evidence_of(observed(plate_and_wall()))
    places = evidence.free_places(3000)
    assert len(places) > 300
    world = transform_points(evidence.T_world_level, places)
    behind = (np.abs(world[:, 0]) < 0.2 * world[:, 1] / 2) & (world[:, 1] > 2.0)
    assert not (behind & (np.abs(world[:, 2]) < 0.12)).any()


def test_the_level_frame_is_upright_under_the_middle_of_the_points():
    thing = observed(plate_and_wall())
    evidence = evidence_of(thing)
    assert np.allclose(evidence.T_world_level[:3, 2], [0, 0, 1])
    low, high = thing.points.min(0), thing.points.max(0)
    assert np.allclose(evidence.T_world_level[:3, 3], [*(low + high)[:2] / 2, low[2]], atol=0.02)


def test_a_floor_below_is_where_the_object_may_stand():
    evidence = evidence_of(observed(plate_and_wall(floor=True)))
    lowest = evidence.T_world_level[2, 3]
    heights = np.array(evidence.bases) + lowest
    assert np.abs(heights - -0.4).min() < 0.02  # the floor
    assert np.abs(heights - lowest).min() < 0.02  # its lowest points: it may hang


def test_without_views_nothing_is_free():
    thing = observed(plate_and_wall())
    blind = ObservedObject(thing.points, thing.normals, thing.colors, (), thing.up)
    evidence = evidence_of(blind)
    assert not evidence.space.free.any()
    assert len(evidence.free_places(500)) == 0


def test_too_few_points_are_refused():
    thing = observed(plate_and_wall())
    few = ObservedObject(thing.points[:5], thing.normals[:5], thing.colors[:5], (), thing.up)
    with pytest.raises(ValueError, match="expected at least 30 points"):
        evidence_of(few)


def test_thinned_points_are_even():
    rng = np.random.default_rng(0)
    dense, sparse = rng.uniform(0, 1, (9000, 3)), rng.uniform(1, 2, (300, 3))
    points = np.concatenate([dense, sparse])
    kept = thinned(points, 400)
    assert 150 < len(kept) <= 400
    assert (kept >= 9000).mean() > 0.2  # of all points they are 3 %
