"""Clusters, upright boxes, hits and their lasting numbers."""

import itertools
import math

import numpy as np
import pytest

from semantic_field.config import QueryConfig
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.query.axes import UP_CHOICES, ground_axes
from semantic_field.query.boxes import oriented_box
from semantic_field.query.clusters import cluster, join_stacked
from semantic_field.query.hits import HitTracker, find_hits

NAMES = {1: "chair", 2: "table"}


def block(centre, size, yaw=0.0, step=0.03) -> np.ndarray:
    """Points filling an upright block."""
    axes = [np.linspace(-s / 2, s / 2, max(2, round(s / step) + 1)) for s in size]
    local = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    c, s = math.cos(yaw), math.sin(yaw)
    return local @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]]) + centre


def surface(*parts: tuple[np.ndarray, int]) -> SurfacePoints:
    xyz = np.concatenate([p for p, _ in parts]).astype(np.float32)
    label = np.concatenate([np.full(len(p), i, np.int32) for p, i in parts])
    n = len(xyz)
    return SurfacePoints(
        xyz,
        np.tile(np.float32([0, 0, 1]), (n, 1)),
        np.zeros((n, 3), np.uint8),
        np.zeros((n, 4), np.float16),
        label,
        np.ones(n, np.float32),
    )


@pytest.mark.parametrize("up", UP_CHOICES)
def test_ground_axes_are_a_rotation_with_up_upwards(up):
    axes = ground_axes(up)
    assert np.allclose(axes @ axes.T, np.eye(3)) and np.linalg.det(axes) == pytest.approx(1.0)
    expected = np.zeros(3)
    expected["xyz".index(up[1])] = 1.0 if up[0] == "+" else -1.0
    assert np.allclose(axes.T @ [0, 0, 1], expected)
    with pytest.raises(ValueError, match="up axis"):
        ground_axes("z")


@pytest.mark.parametrize("degrees", [0, 20, 44, 70, 90, 135, 179])
def test_box_of_a_turned_block(degrees):
    yaw = math.radians(degrees)
    T, size = oriented_box(block([1.0, -2.0, 0.5], [1.2, 0.4, 0.6], yaw), np.eye(3))
    assert np.allclose(size, [1.2, 0.4, 0.6], atol=1e-6)
    assert np.allclose(T[:3, 3], [1.0, -2.0, 0.5], atol=1e-6)
    assert np.allclose(T[:3, 2], [0, 0, 1]) and np.linalg.det(T[:3, :3]) == pytest.approx(1.0)
    assert abs(T[:3, 0] @ [math.cos(yaw), math.sin(yaw), 0]) == pytest.approx(1.0)
    assert T[0, 0] > -1e-9  # yaw in (-90, 90] degrees


def test_box_where_y_points_down():
    """The block of the camera frame: 0.8 high along y."""
    T, size = oriented_box(block([0, 1, 3], [1.5, 0.8, 0.5]), ground_axes("-y"))
    assert np.allclose(size, [1.5, 0.5, 0.8], atol=1e-6)
    assert np.allclose(T[:3, 2], [0, -1, 0]) and np.allclose(T[:3, 3], [0, 1, 3], atol=1e-6)


@pytest.mark.parametrize("points", [[[1, 2, 3]], [[0, 0, 0], [1, 1, 0]], [[0, 0, 0]] * 5])
def test_box_of_degenerate_points(points):
    T, size = oriented_box(np.array(points, float), np.eye(3))
    assert np.isfinite(T).all() and (size >= 0.01).all()
    assert np.allclose(T[:3, 3], np.mean(points, 0))


def test_box_contains_all_points():
    rng = np.random.default_rng(0)
    for _ in range(20):
        points = rng.normal(size=(40, 3)) * rng.uniform(0.1, 2, 3)
        T, size = oriented_box(points, np.eye(3))
        inside = (points - T[:3, 3]) @ T[:3, :3]
        assert (np.abs(inside) <= size / 2 + 1e-9).all()


def test_clusters_noise_and_kinds():
    a, b = block([0, 0, 0], [0.3, 0.3, 0.3]), block([1, 0, 0], [0.3, 0.3, 0.3])
    stray = np.array([[5.0, 5.0, 5.0]])
    numbers = cluster(np.concatenate([a, b, stray]), 0.06)
    assert len(set(numbers[: len(a)])) == len(set(numbers[len(a) : -1])) == 1
    assert numbers[0] != numbers[len(a)] and numbers[-1] == -1
    touching = np.concatenate([a, a + [0.3, 0, 0]])
    kind = np.repeat([4, 7], len(a))
    assert len(set(cluster(touching, 0.06))) == 1
    assert len(set(cluster(touching, 0.06, kind))) == 2


def test_a_thin_bridge_does_not_connect():
    a, b = block([0, 0, 0], [0.4, 0.4, 0.4]), block([1.2, 0, 0], [0.4, 0.4, 0.4])
    bridge = np.stack([np.linspace(0.2, 1.0, 60), np.zeros(60), np.zeros(60)], 1)
    numbers = cluster(np.concatenate([a, b, bridge]), 0.06)
    assert numbers[0] != numbers[len(a)]


def test_clusters_far_from_the_origin_and_of_nothing():
    a = block([0, 0, 0], [0.3, 0.3, 0.3])
    far = np.concatenate([a, a + [900.0, -700.0, 20.0]])
    numbers = cluster(far, 0.06)
    assert len(set(numbers.tolist())) == 2 and -1 not in numbers
    assert len(cluster(np.zeros((0, 3)), 0.06)) == 0
    with pytest.raises(ValueError, match="one frame"):
        cluster(np.array([[0.0, 0, 0], [1e9, 1e9, 1e9]]), 0.06)


def test_parts_above_each_other_are_joined():
    top, leg = block([0, 0, 0.75], [1.2, 0.8, 0.03]), block([0.5, 0.3, 0.3], [0.06, 0.06, 0.6])
    beside = block([1.4, 0, 0.75], [1.2, 0.8, 0.03])
    xyz = np.concatenate([top, beside, leg])
    ends = np.cumsum([0, len(top), len(beside), len(leg)])
    groups = [np.arange(a, b) for a, b in itertools.pairwise(ends)]
    joined = join_stacked(groups, xyz, np.zeros(len(xyz), int))
    assert [len(g) for g in joined] == [len(top) + len(leg), len(beside)]
    other_label = np.where(np.arange(len(xyz)) >= ends[2], 5, 1)
    assert len(join_stacked(groups, xyz, other_label)) == 3


def test_a_back_seen_apart_from_its_seat_is_joined_and_pictures_are_not():
    seat, back = block([0, 0, 0.45], [0.4, 0.4, 0.05]), block([-0.28, 0, 0.7], [0.04, 0.4, 0.4])
    xyz = np.concatenate([seat, back])
    groups = [np.arange(len(seat)), np.arange(len(seat), len(xyz))]
    assert len(join_stacked(groups, xyz, np.zeros(len(xyz), int))) == 1
    left, right = block([0, 0, 1.5], [0.03, 0.5, 0.4]), block([0, 0.58, 1.5], [0.03, 0.5, 0.4])
    xyz = np.concatenate([left, right])
    groups = [np.arange(len(left)), np.arange(len(left), len(xyz))]
    assert len(join_stacked(groups, xyz, np.zeros(len(xyz), int))) == 2


def test_hits_have_boxes_labels_and_an_order():
    chair, table = block([0, 0, 0.4], [0.5, 0.5, 0.8]), block([3, 1, 0.4], [1.6, 0.8, 0.7], 0.5)
    crumb = block([6, 0, 0], [0.06, 0.06, 0.06])
    points = surface((chair, 1), (table, 2), (crumb, 1))
    relevancy = np.repeat([0.95, 0.7, 0.99], [len(chair), len(table), len(crumb)])
    hits = find_hits(points, relevancy.astype(np.float32), NAMES, QueryConfig(), 0.5)
    assert [hit.label for hit in hits] == ["chair", "table"]  # the crumb has too few points
    assert hits[0].score == pytest.approx(0.95, abs=0.01) and hits[0].point_count == len(chair)
    assert np.allclose(hits[1].size, [1.6, 0.8, 0.7], atol=1e-4)
    assert np.allclose(hits[1].centre, [3, 1, 0.4], atol=1e-4)
    assert np.array_equal(np.sort(hits[0].indices), np.arange(len(chair)))
    none = find_hits(points, relevancy.astype(np.float32), NAMES, QueryConfig(), 1.0)
    assert none == []


def test_a_stray_relevant_point_does_not_swell_the_box():
    chair = block([0, 0, 0.4], [0.5, 0.5, 0.8])
    tail = np.stack([np.linspace(0.25, 0.55, 11), np.zeros(11), np.full(11, 0.4)], 1)
    points = surface((np.concatenate([chair, tail]), 1))
    hits = find_hits(points, np.ones(len(points), np.float32), NAMES, QueryConfig(), 0.5)
    assert len(hits) == 1 and hits[0].size[0] < 0.66


def hits_of(*centres, label=1):
    points = surface(*((block(c, [0.5, 0.5, 0.8]), label) for c in centres))
    found = find_hits(points, np.ones(len(points), np.float32), NAMES, QueryConfig(), 0.5)
    return found, points


def test_numbers_last_while_objects_move_a_little():
    tracker = HitTracker()
    first = tracker.assign(*hits_of([0, 0, 0], [2, 0, 0]))
    again = tracker.assign(*hits_of([2.05, 0.04, 0], [0.03, -0.05, 0], [4, 0, 0]))
    by_place = {round(float(h.centre[0])): h.id for h in first}
    now = {round(float(h.centre[0])): h.id for h in again}
    assert now[0] == by_place[0] and now[2] == by_place[2]
    assert now[4] not in by_place.values()


def test_numbers_survive_an_answer_without_the_object():
    tracker = HitTracker()
    (only,) = tracker.assign(*hits_of([0, 0, 0]))
    tracker.assign(*hits_of([5, 0, 0]))
    (back,) = tracker.assign(*hits_of([0, 0, 0]))
    assert back.id == only.id


def test_tracker_memory_is_bounded_and_numbers_are_never_reused():
    tracker = HitTracker(capacity=3)
    numbers = [tracker.assign(*hits_of([2.0 * i, 0, 0]))[0].id for i in range(8)]
    assert len(set(numbers)) == 8
    again = [tracker.assign(*hits_of([x, 0, 0]))[0].id for x in (10, 8, 14)]  # the fifth is gone
    assert again[0] == numbers[5] and again[1] not in numbers and again[2] == numbers[7]
    tracker.clear()
    assert tracker.assign(*hits_of([14, 0, 0]))[0].id not in numbers
