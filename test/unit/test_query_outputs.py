"""Goal poses, grasp clouds, PLY files and pictures."""

import cv2
import numpy as np
import pytest

from semantic_field.config import QueryConfig
from semantic_field.field.surface.ply import write_ply
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.query.axes import ground_axes
from semantic_field.query.boxes import oriented_box
from semantic_field.query.colors import depth_colors, label_colors, relevancy_colors
from semantic_field.query.grasp import grasp_clouds
from semantic_field.query.ground import make_ground_map
from semantic_field.query.hits import Hit
from semantic_field.query.navigation import goal_pose
from semantic_field.query.top_down import draw_top_down, top_down_image

STEP = 0.03


def rectangle(low, high, z):
    x, y = np.meshgrid(np.arange(low[0], high[0], STEP), np.arange(low[1], high[1], STEP))
    return np.stack([x.ravel(), y.ravel(), np.full(x.size, z)], 1), np.array([0.0, 0.0, 1.0])


def wall(a, b, low, high):
    """A vertical sheet from (x, y) ``a`` to ``b``."""
    n = max(2, round(np.hypot(b[0] - a[0], b[1] - a[1]) / STEP))
    heights = np.arange(low, high, STEP)
    xy = np.linspace(a, b, n)
    points = np.concatenate([np.column_stack([xy, np.full(n, h)]) for h in heights])
    return points, np.array([b[1] - a[1], a[0] - b[0], 0.0]) / np.hypot(b[0] - a[0], b[1] - a[1])


def block_parts(centre, size):
    x, y, z = centre
    a, b, c = np.array(size) / 2
    corners = [(x - a, y - b), (x + a, y - b), (x + a, y + b), (x - a, y + b)]
    sides = [wall(p, q, z - c, z + c) for p, q in zip(corners, corners[1:] + corners[:1])]
    return [rectangle((x - a, y - b), (x + a, y + b), z + c), *sides]


def make_points(groups, up="+z"):
    """Points of (parts, label) groups, turned so that ``up`` is upwards."""
    axes = ground_axes(up)
    xyz, normals, label = [], [], []
    for parts, class_id in groups:
        for points, normal in parts:
            xyz.append(points @ axes)
            normals.append(np.tile(normal @ axes, (len(points), 1)))
            label.append(np.full(len(points), class_id, np.int32))
    xyz = np.concatenate(xyz).astype(np.float32)
    n = len(xyz)
    return SurfacePoints(
        xyz,
        np.concatenate(normals).astype(np.float32),
        np.tile(np.uint8([10, 20, 30]), (n, 1)),
        np.zeros((n, 2), np.float16),
        np.concatenate(label),
        np.ones(n, np.float32),
    )


def hit_of(points, class_id, up="+z"):
    indices = np.flatnonzero(points.label == class_id)
    T, size = oriented_box(points.xyz[indices], ground_axes(up))
    return Hit(1, "thing", 0.9, T, size, len(indices), indices)


FLOOR = ([rectangle((0, 0), (5, 5), 0.0)], 1)
CHAIR = (block_parts((2.5, 2.5, 0.4), (0.5, 0.5, 0.8)), 2)


@pytest.mark.parametrize("up", ["+z", "-y", "+x"])
def test_goal_stands_off_and_faces_the_object(up):
    points = make_points([FLOOR, CHAIR], up)
    goal = goal_pose(hit_of(points, 2, up), points, QueryConfig(up=up, standoff_m=0.6))
    assert goal is not None
    local = ground_axes(up) @ goal[:3, 3]
    assert local[2] == pytest.approx(0.0, abs=0.02)  # on the floor
    gap = np.maximum(np.abs(local[:2] - 2.5) - 0.25, 0.0)
    assert 0.5 < np.hypot(*gap) < 0.75
    to_object = np.array([2.5, 2.5]) - local[:2]
    forward = ground_axes(up) @ goal[:3, 0]
    assert forward[:2] @ to_object / np.linalg.norm(to_object) > 0.98
    assert np.allclose(ground_axes(up) @ goal[:3, 2], [0, 0, 1])
    assert np.linalg.det(goal[:3, :3]) == pytest.approx(1.0)


def test_goal_is_never_inside_an_object():
    """Tables on three sides of the chair: only one side is left, and of it the free part."""
    tables = [
        part
        for centre in ((1.6, 2.5), (3.4, 2.5), (2.5, 3.4))
        for part in block_parts((*centre, 0.4), (0.8, 0.8, 0.8))
    ]
    points = make_points([FLOOR, CHAIR, (tables, 3)])
    config = QueryConfig(standoff_m=0.4, robot_radius_m=0.2)
    goal = goal_pose(hit_of(points, 2), points, config)
    assert goal is not None and goal[1, 3] < 2.3
    obstacles = points.xyz[(points.label > 1) & (points.xyz[:, 2] > 0.1)]
    nearest = np.linalg.norm(obstacles[:, :2] - goal[:2, 3], axis=1).min()
    assert nearest >= 0.2


def test_goal_keeps_off_the_far_side_of_a_wall():
    """More floor behind the wall, and nearer to the chair's middle, but the chair is not seen."""
    points = make_points(
        [
            ([rectangle((0, 0), (5, 2.1), 0.0), rectangle((0, 2.3), (5, 5), 0.0)], 1),
            (block_parts((2.5, 2.6, 0.4), (0.4, 0.4, 0.8)), 2),
            ([wall((0, 2.2), (5, 2.2), 0, 1.0)], 3),
        ]
    )
    goal = goal_pose(hit_of(points, 2), points, QueryConfig(standoff_m=0.3))
    assert goal is not None and goal[1, 3] > 2.3


def test_no_goal_without_floor_or_room():
    chair_alone = make_points([CHAIR])
    assert goal_pose(hit_of(chair_alone, 2), chair_alone) is None
    narrow = make_points([([rectangle((2, 2), (3, 3), 0.0)], 1), CHAIR])
    assert goal_pose(hit_of(narrow, 2), narrow, QueryConfig(robot_radius_m=0.5)) is None


def test_floor_is_below_the_tables_and_not_a_stray_patch():
    patch = ([rectangle((0, 0), (0.2, 0.2), -0.8)], 4)  # a reflection in the floor
    top = ([rectangle((1, 1), (4, 4), 0.75)], 3)
    ground = make_ground_map(make_points([FLOOR, top, patch]), QueryConfig())
    assert ground is not None and ground.height == pytest.approx(0.0, abs=0.01)
    assert not ground.free[tuple(ground.cells(np.array([2.5, 2.5])))]
    assert ground.free[tuple(ground.cells(np.array([0.5, 0.5])))]


def test_what_hangs_high_is_no_obstacle():
    lamp = (block_parts((1.0, 1.0, 2.0), (0.3, 0.3, 0.2)), 3)
    ground = make_ground_map(make_points([FLOOR, lamp]), QueryConfig())
    assert ground is not None and ground.free[tuple(ground.cells(np.array([1.0, 1.0])))]


def test_grasp_clouds_share_no_point_and_lose_none_nearby():
    table = ([rectangle((2, 2), (3, 3), 0.3)], 3)
    mug = (block_parts((2.5, 2.5, 0.36), (0.09, 0.09, 0.12)), 2)
    points = make_points([FLOOR, table, mug])
    clouds = grasp_clouds(hit_of(points, 2), points, radius_m=0.5)
    assert set(clouds.object.label.tolist()) == {2}
    assert set(clouds.scene.label.tolist()) == {1, 3}  # the table below it stays an obstacle
    assert len(clouds.object) == (points.label == 2).sum()
    assert np.abs(clouds.scene.xyz[:, :2] - 2.5).max() < 0.56
    assert np.allclose(np.linalg.norm(clouds.object.normals, axis=1), 1, atol=1e-5)


def test_the_rim_of_an_object_is_no_obstacle():
    points = make_points([FLOOR, CHAIR])
    whole = hit_of(points, 2)
    inner = whole.indices[points.xyz[whole.indices, 2] > 0.02]
    hit = Hit(1, "chair", 0.9, whole.T_world_object, whole.size, len(inner), inner)
    assert 2 not in grasp_clouds(hit, points).scene.label.tolist()


def test_ply_is_read_back_by_open3d(tmp_path):
    o3d = pytest.importorskip("open3d", reason="Open3D is not installed here")
    points = make_points([CHAIR])
    relevancy = np.linspace(0, 1, len(points)).astype(np.float32)
    path = tmp_path / "chair.ply"
    write_ply(path, points, relevancy)
    cloud = o3d.t.io.read_point_cloud(str(path))
    assert np.array_equal(cloud.point.positions.numpy(), points.xyz)
    assert np.array_equal(cloud.point.normals.numpy(), points.normals)
    assert np.array_equal(cloud.point.colors.numpy(), points.color)
    assert np.array_equal(cloud.point["relevancy"].numpy().ravel(), relevancy)
    assert np.array_equal(cloud.point["label"].numpy().ravel(), points.label)
    assert [p.name for p in tmp_path.iterdir()] == ["chair.ply"]


def test_ply_errors(tmp_path):
    points = make_points([CHAIR])
    with pytest.raises(ValueError, match="relevancy of"):
        write_ply(tmp_path / "a.ply", points, np.zeros(3))
    with pytest.raises(OSError):
        write_ply(tmp_path / "missing" / "a.ply", points)


def test_ply_of_nothing(tmp_path):
    empty = make_points([CHAIR]).select(np.zeros(0, int))
    write_ply(tmp_path / "a.ply", empty)
    assert b"element vertex 0" in (tmp_path / "a.ply").read_bytes()


def test_colors():
    relevancy = np.array([0.0, 1.0, np.nan, -3.0, 7.0])
    colors = relevancy_colors(relevancy)
    assert colors.dtype == np.uint8 and colors.shape == (5, 3)
    assert colors[0, 2] > colors[0, 0] and colors[1, 0] > colors[1, 2]  # blue to red
    assert np.array_equal(colors[3], colors[0]) and np.array_equal(colors[4], colors[1])
    assert len(set(colors[2].tolist())) == 1  # grey
    depth = depth_colors(np.array([[0.0, 1.0, 4.0]]), far_m=4.0)
    assert depth[0, 1].sum() > depth[0, 2].sum() and len(set(depth[0, 0].tolist())) == 1
    labels = label_colors(np.array([[-1, 0, 1, 2, 0]]))
    assert len(np.unique(labels[0, :4], axis=0)) == 4
    assert np.array_equal(labels[0, 1], labels[0, 4])
    assert relevancy_colors(np.zeros((0, 4))).shape == (0, 4, 3)


def test_picture_shows_the_relevant_object_and_not_the_ceiling(tmp_path):
    points_down, _ = rectangle((0, 0), (5, 5), 2.5)
    ceiling = ([(points_down, np.array([0.0, 0.0, -1.0]))], 4)
    points = make_points([FLOOR, CHAIR, ceiling])
    relevancy = np.where(points.label == 2, 0.95, 0.0)
    image = top_down_image(points, relevancy, "chair", [hit_of(points, 2)])
    red = (image[..., 0] > 130) & (image[..., 1] < 60) & (image[..., 2] < 60)
    rows, columns = np.nonzero(red[60:-60, 60:-60])
    assert len(rows) > 100
    middle = np.array(image.shape[:2]) / 2 - 60
    assert np.allclose([rows.mean(), columns.mean()], middle, atol=12)
    path = tmp_path / "a.png"
    draw_top_down(path, points, relevancy, "chair", [hit_of(points, 2)])
    assert np.array_equal(cv2.imread(str(path))[..., ::-1], image)
    with pytest.raises(OSError, match="could not be written"):
        draw_top_down(tmp_path / "missing" / "a.png", points, relevancy, "chair")


def test_picture_of_nothing():
    empty = make_points([CHAIR]).select(np.zeros(0, int))
    assert top_down_image(empty, np.zeros(0), "nothing").shape == (240, 640, 3)
