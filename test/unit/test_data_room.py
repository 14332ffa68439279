"""The simulated room: geometry against the shapes themselves, truth against what is seen."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from semantic_field.data.room.layout import LABELS, STRUCTURE, make_layout
from semantic_field.data.room.ray_caster import FAR, hit_shape
from semantic_field.data.room.shapes import BOX, CONE, ELLIPSOID, Material, Shape, box, rod
from semantic_field.data.room.trajectory import CLEARANCE_M, clearance, make_trajectory, walk
from semantic_field.data.simulated_room import SimulatedRoom
from semantic_field.geometry import transform_points

SIZE = (160, 120)
PLAIN = Material()


@pytest.fixture(scope="module")
def room() -> SimulatedRoom:
    return SimulatedRoom(0, n_frames=12, size=SIZE)


def hit(shape: Shape, origin, direction) -> tuple[float, int]:
    row = np.array([[*shape.centre, *shape.half, *shape.rotation.ravel(), shape.top]])
    return hit_shape(row, shape.kind, 0, *map(float, origin), *map(float, direction))


def test_ray_meets_box_cylinder_cone_and_ball():
    cube = box((1, -1, -1), (3, 1, 1), PLAIN)
    assert hit(cube, (0, 0, 0), (1, 0, 0)) == (1.0, 0)
    assert hit(cube, (4, 0, 0), (-2, 0, 0)) == (0.5, 1)
    assert hit(cube, (0, 2, 0), (1, 0, 0))[0] == FAR
    assert hit(cube, (4, 0, 0), (1, 0, 0))[0] == FAR
    lying = rod((0, 5, 0), (4, 5, 0), 0.5, PLAIN)
    assert hit(lying, (2, 0, 0), (0, 1, 0))[0] == pytest.approx(4.5)
    assert hit(lying, (-1, 5, 0.2), (1, 0, 0)) == pytest.approx((1.0, 1))
    # Radius 2 below, 1 above, height 2: at half height 1.5.
    cone = Shape(CONE, np.array([0, 0, 1.0]), np.array([2.0, 2, 1]), PLAIN, top=0.5)
    assert hit(cone, (-5, 0, 1), (1, 0, 0))[0] == pytest.approx(3.5)
    assert hit(cone, (0.9, 0, 5), (0, 0, -1)) == pytest.approx((3.0, 2))
    assert hit(cone, (1.1, 0, 5), (0, 0, -1))[0] == pytest.approx(3.2)
    ball = Shape(ELLIPSOID, np.zeros(3), np.array([2.0, 1, 1]), PLAIN)
    assert hit(ball, (-5, 0, 0), (1, 0, 0))[0] == pytest.approx(3.0)
    assert hit(ball, (0, 0, 5), (0, 0, -1))[0] == pytest.approx(4.0)


def distance_to_surface(shape: Shape, points: np.ndarray) -> np.ndarray:
    """How far points (N, 3) are from a shape's surface, by its own equation, metres."""
    p = (points - shape.centre) @ shape.rotation
    if shape.kind == BOX:
        return np.abs((np.abs(p) - shape.half).max(axis=1))
    if shape.kind == ELLIPSOID:
        return np.abs(np.linalg.norm(p / shape.half, axis=1) - 1) * shape.half.min()
    z = p[:, 2] / shape.half[2]
    radius = shape.half[0] * (1 + (shape.top - 1) * (z + 1) / 2)
    side = np.linalg.norm(p[:, :2], axis=1) - radius
    return np.abs(np.maximum(side, np.abs(p[:, 2]) - shape.half[2]))


def test_every_pixel_lies_on_a_surface_of_its_own_object(room):
    seen = set()
    for index in (0, 5):
        frame = room[index]
        points = transform_points(frame.T_world_camera, room.camera.backproject(frame.depth))
        for piece in room.layout.pieces:
            if piece.name in STRUCTURE:
                continue
            mask = frame.instances == piece.instance
            assert (frame.labels[mask] == LABELS.index(piece.name)).all()
            if mask.any():
                surfaces = [distance_to_surface(shape, points[mask]) for shape in piece.shapes]
                assert np.min(surfaces, axis=0).max() < 1e-5, piece.name
                seen.add(piece.name)
    assert len(seen) > 8


def test_structure_is_where_the_room_ends(room):
    shown, (w, d, h) = Counter(), room.layout.size
    for frame in room:
        points = transform_points(frame.T_world_camera, room.camera.backproject(frame.depth))
        z = points[..., 2]
        assert (frame.depth > 0).all()
        for name, height in (("floor", 0.0), ("ceiling", h)):
            there = frame.labels == LABELS.index(name)
            assert np.abs(z[there] - height).max(initial=0) < 1e-5
            shown[name] += there.sum()
        assert (np.abs(points[..., 0]) < w / 2 + 1e-5).all()
        assert (np.abs(points[..., 1]) < d / 2 + 1e-5).all()
    assert min(shown["floor"], shown["ceiling"]) > 100


def test_ground_truth_boxes_hold_what_is_seen(room):
    objects = {item.instance: item for item in room.objects}
    seen = set()
    for frame in room:
        points = transform_points(frame.T_world_camera, room.camera.backproject(frame.depth))
        for instance in np.unique(frame.instances[frame.instances > 0]):
            item = objects[int(instance)]
            own = points[frame.instances == instance] - item.centre
            c, s = np.cos(item.yaw), np.sin(item.yaw)
            local = np.stack(
                [c * own[:, 0] + s * own[:, 1], c * own[:, 1] - s * own[:, 0], own[:, 2]], 1
            )
            assert (np.abs(local) <= item.size / 2 + 1e-4).all(), item.name
            seen.add(item.name)
    furniture = {"sofa", "armchair", "chair", "dining table", "bookshelf", "refrigerator", "tv"}
    assert furniture <= seen
    assert room.label_names == dict(enumerate(LABELS))


def test_same_seed_same_room_other_seed_other_room(room):
    again = SimulatedRoom(0, n_frames=12, size=SIZE)
    np.testing.assert_array_equal(again[3].color, room[3].color)
    np.testing.assert_array_equal(again[3].depth, room[3].depth)
    first, second = make_layout(0), make_layout(1)
    assert first.size != second.size


def test_layouts_of_many_seeds_have_no_collisions_and_a_way_through():
    for seed in range(10):
        layout = make_layout(seed)
        path = walk(layout)
        w, d, _ = layout.size
        half = np.array([w, d]) / 2
        assert (np.abs(path) < half - CLEARANCE_M * 0.8 + 0.05).all()
        for piece in layout.pieces:
            if piece.on_floor:
                c, s = np.cos(piece.yaw), np.sin(piece.yaw)
                away = path - piece.position[:2]
                local = away @ np.array([[c, -s], [s, c]])
                inside = (local > piece.low[:2]) & (local < piece.high[:2])
                assert not inside.all(axis=1).any(), (seed, piece.name)
        assert clearance(layout).max() > 0.4


def test_walk_is_smooth_and_at_eye_height():
    layout = make_layout(2)
    poses = make_trajectory(layout, 90)
    eyes = np.array([pose[:3, 3] for pose in poses])
    steps = np.linalg.norm(np.diff(eyes, axis=0), axis=1)
    assert steps.max() < 0.25
    assert eyes[:, 2].min() >= 1.2 and eyes[:, 2].max() <= 1.6
    turns = [np.trace(a[:3, :3].T @ b[:3, :3]) for a, b in pairwise(poses)]
    assert np.degrees(np.arccos((np.array(turns) - 1) / 2)).max() < 25


def test_noisy_sensor(room):
    noisy = SimulatedRoom(0, n_frames=12, size=SIZE, noise=True)
    exact, frame = room[3], noisy[3]
    valid = frame.depth > 0
    assert 0.6 < valid.mean() < 0.97
    error = (frame.depth - exact.depth)[valid]
    near, far = exact.depth[valid] < 2.0, exact.depth[valid] > 3.0
    assert np.abs(error).max() < 0.5
    assert np.std(error[near]) < 0.02 < 5 * np.std(error[far])
    assert np.std(error[far]) > 1.5 * np.std(error[near])
    glass = np.isin(exact.labels, [LABELS.index("tv"), LABELS.index("window")])
    assert glass.any() and valid[glass].mean() < 0.3
    np.testing.assert_array_equal(frame.labels, exact.labels)
    np.testing.assert_array_equal(noisy[3].depth, frame.depth)
    assert 0 < np.abs(frame.color.astype(int) - exact.color).mean() < 6


def test_colours_do_not_depend_on_the_view(room):
    """A point that two frames see has nearly the same colour in both."""
    walk_90 = SimulatedRoom(0, n_frames=90, size=SIZE)
    first, second = walk_90[20], walk_90[22]
    points = transform_points(first.T_world_camera, room.camera.backproject(first.depth))
    inverse = np.linalg.inv(second.T_world_camera)
    pixels, z = room.camera.project(transform_points(inverse, points))
    u, v = np.rint(np.nan_to_num(pixels, nan=-1)).astype(int).transpose(2, 0, 1)
    inside = (u >= 0) & (u < SIZE[0]) & (v >= 0) & (v < SIZE[1]) & (z > 0)
    same = inside.copy()
    same[inside] = np.abs(second.depth[v[inside], u[inside]] - z[inside]) < 0.01
    assert same.mean() > 0.1
    difference = np.abs(first.color[same].astype(int) - second.color[v[same], u[same]])
    assert np.median(difference) <= 4


def test_wrong_requests():
    with pytest.raises(ValueError, match="n_frames"):
        SimulatedRoom(0, n_frames=0)
    with pytest.raises(IndexError, match=r"0\.\.11"):
        SimulatedRoom(0, n_frames=12, size=SIZE)[12]
