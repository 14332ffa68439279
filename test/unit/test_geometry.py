"""Cameras and rigid transforms against numbers worked by hand."""

import math

import numpy as np
import pytest

from semantic_field.geometry import (
    Camera,
    check_transform,
    depth_to_world,
    interpolate_transform,
    invert_transform,
    look_at,
    make_transform,
    matrix_from_quaternion,
    moved_and_turned,
    quaternion_from_matrix,
    transform_points,
)

CAMERA = Camera(fx=100.0, fy=120.0, cx=31.5, cy=23.5, width=64, height=48)


def random_transform(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return make_transform(matrix_from_quaternion(rng.normal(size=4)), rng.normal(size=3))


def test_project_by_hand():
    pixels, depth = CAMERA.project(np.array([[0.5, -0.2, 2.0]]))
    np.testing.assert_allclose(pixels, [[100 * 0.25 + 31.5, 120 * -0.1 + 23.5]])
    np.testing.assert_allclose(depth, [2.0])


def test_points_behind_the_camera_have_no_pixel():
    pixels, _ = CAMERA.project(np.array([[0.0, 0.0, -1.0], [0.0, 0.0, 0.0]]))
    assert np.isnan(pixels).all()


def test_backproject_then_project_is_the_pixel_grid():
    depth = np.random.default_rng(0).uniform(0.5, 5.0, (48, 64)).astype(np.float32)
    pixels, z = CAMERA.project(CAMERA.backproject(depth))
    u, v = np.meshgrid(np.arange(64), np.arange(48))
    np.testing.assert_allclose(pixels, np.stack([u, v], -1), atol=1e-3)
    np.testing.assert_allclose(z, depth)


def test_lift_by_hand():
    expected = [[0.5, -0.2, 2.0], [0.0, 0.0, 4.0]]
    u, v, z = np.array([[56.5, 11.5, 2.0], [31.5, 23.5, 4.0]]).T
    np.testing.assert_allclose(CAMERA.lift(u, v, z), expected)
    np.testing.assert_allclose(CAMERA.lift(56.5, 11.5, 2.0), expected[0])


def test_only_points_inside_the_image_have_pixels():
    points = CAMERA.lift(
        np.array([0.4, -0.6, 63.4, 63.6, 5.0]),
        np.array([7.0, 7.0, 47.2, 0.0, 9.0]),
        np.full(5, 3.0),
    )
    points[4] *= -1.0  # behind the camera
    index, u, v, z = CAMERA.pixels_inside(points)
    assert index.tolist() == [0, 2] and u.tolist() == [0, 63] and v.tolist() == [7, 47]
    np.testing.assert_allclose(z, 3.0)


def test_depth_to_world_by_hand():
    depth = np.zeros((48, 64), np.float32)
    depth[24, 32] = 2.0
    pose = make_transform([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], [1.0, 2.0, 3.0])
    expected = [1 + 2.0, 2 - 2 * 0.5 / 100, 3 - 2 * 0.5 / 120]  # x of the world = ahead
    image = depth_to_world(depth, CAMERA, pose)
    np.testing.assert_allclose(image[24, 32], expected, atol=1e-6)
    np.testing.assert_allclose(image[0, 0], [1.0, 2.0, 3.0])
    np.testing.assert_allclose(
        depth_to_world(depth, CAMERA, pose, depth > 0), [expected], atol=1e-6
    )


def test_moved_and_turned_by_hand():
    first, second = np.eye(4), make_transform([[0, -1, 0], [1, 0, 0], [0, 0, 1]], [3.0, 0.0, 4.0])
    moved, turned = moved_and_turned(np.stack([first, second]), first)
    np.testing.assert_allclose(moved, [0.0, 5.0])
    np.testing.assert_allclose(turned, [0.0, math.pi / 2])


def test_resized_camera_sees_the_same_corners():
    half = CAMERA.resized(32, 24)
    corner = np.array([[-0.32, -0.2, 1.0]])  # pixel (-0.5, -0.5): the image's outer corner
    np.testing.assert_allclose(CAMERA.project(corner)[0], [[-0.5, -0.5]])
    np.testing.assert_allclose(half.project(corner)[0], [[-0.5, -0.5]])


def test_field_of_view():
    camera = Camera.from_field_of_view(100, 50, math.pi / 2)
    edge = camera.project(np.array([[1.0, 0.0, 1.0]]))[0]  # 45 degrees to the right
    np.testing.assert_allclose(edge, [[99.5, 24.5]])
    with pytest.raises(ValueError, match="field of view"):
        Camera.from_field_of_view(100, 50, 0.0)


def test_camera_without_focal_length_is_refused():
    with pytest.raises(ValueError, match="CameraInfo"):
        Camera(0.0, 0.0, 0.0, 0.0, 640, 480)


@pytest.mark.parametrize("seed", range(20))
def test_quaternion_and_matrix_are_inverse(seed):
    rotation = random_transform(seed)[:3, :3]
    quaternion = quaternion_from_matrix(rotation)
    assert quaternion[3] >= 0
    np.testing.assert_allclose(matrix_from_quaternion(quaternion), rotation, atol=1e-12)


def test_quaternion_of_a_quarter_turn_about_z():
    rotation = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    half = math.sqrt(0.5)
    np.testing.assert_allclose(quaternion_from_matrix(rotation), [0, 0, half, half])


@pytest.mark.parametrize("axis", range(3))
def test_quaternion_of_half_turns(axis):
    rotation = -np.eye(3)
    rotation[axis, axis] = 1.0
    expected = np.zeros(4)
    expected[axis] = 1.0
    np.testing.assert_allclose(quaternion_from_matrix(rotation), expected)


def test_invert_and_apply():
    T = random_transform(3)
    points = np.random.default_rng(1).normal(size=(5, 3))
    np.testing.assert_allclose(invert_transform(T) @ T, np.eye(4), atol=1e-12)
    back = transform_points(invert_transform(T), transform_points(T, points))
    np.testing.assert_allclose(back, points, atol=1e-12)


def test_interpolation_halves_the_angle_and_takes_the_short_way():
    start = np.eye(4)
    angle = 1.2
    c, s = math.cos(angle), math.sin(angle)
    end = make_transform([[c, -s, 0], [s, c, 0], [0, 0, 1]], [2.0, 0.0, 0.0])
    middle = interpolate_transform(start, end, 0.5)
    np.testing.assert_allclose(middle[0, 0], math.cos(angle / 2))
    np.testing.assert_allclose(middle[:3, 3], [1.0, 0.0, 0.0])
    for fraction, expected in ((0.0, start), (1.0, end)):
        np.testing.assert_allclose(interpolate_transform(start, end, fraction), expected, atol=1e-9)


def test_look_at_puts_the_target_in_the_middle_and_up_up():
    T_world_camera = look_at([1.0, 2.0, 1.5], [4.0, 2.0, 1.5])
    T_camera_world = invert_transform(T_world_camera)
    points = np.array([[4.0, 2.0, 1.5], [4.0, 2.0, 2.5], [4.0, 1.0, 1.5]])
    target, above, right = transform_points(T_camera_world, points)
    np.testing.assert_allclose(target, [0, 0, 3], atol=1e-12)
    assert above[1] < 0  # image y points down
    assert right[0] > 0  # seen along +x with z up, -y lies to the right


@pytest.mark.parametrize(
    "broken",
    [
        np.zeros((4, 4)),
        np.diag([1.0, 1.0, -1.0, 1.0]),  # a mirror
        np.diag([2.0, 2.0, 2.0, 1.0]),  # a scale
        np.full((4, 4), np.nan),
        np.eye(3),
    ],
)
def test_transforms_that_are_not_rigid_are_refused(broken):
    with pytest.raises(ValueError, match="expected a"):
        check_transform(broken)
