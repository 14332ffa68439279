"""The sparse voxel grid: counting, growing, walking along rays."""

from __future__ import annotations

import numpy as np
import pytest

from semantic_field.field.voxels.traversal import used_spans
from semantic_field.field.voxels.voxel_grid import VoxelGrid


def test_counts_once_per_call_and_voxel() -> None:
    grid = VoxelGrid(0.1)
    grid.insert(np.array([[0.05, 0.05, 0.05], [0.06, 0.01, 0.09], [-0.05, 0.05, 0.05]], np.float32))
    grid.insert(np.array([[0.05, 0.05, 0.05]], np.float32))
    grid.insert(np.array([[0.05, 0.05, 0.05]], np.float32), np.array([False]))
    cells, counts = grid.occupied()
    assert {tuple(c): int(n) for c, n in zip(cells, counts, strict=True)} == {
        (0, 0, 0): 2,
        (-1, 0, 0): 1,
    }
    np.testing.assert_allclose(grid.bounds(), [[-0.1, 0, 0], [0.1, 0.1, 0.1]])


def test_grows_without_moving_anything() -> None:
    random = np.random.default_rng(0)
    grid, everything = VoxelGrid(0.05), []
    for centre in ([0, 0, 0], [-9, 2, 1], [4, 12, -3]):
        points = (random.standard_normal((4000, 3)) + centre).astype(np.float32)
        grid.insert(points)
        everything.append(points)
    points = np.concatenate(everything)
    expected = np.unique(np.floor(points / np.float32(0.05)).astype(int), axis=0)
    cells, _ = grid.occupied()
    assert len(cells) == pytest.approx(len(expected), abs=3)  # float32 rounding on borders
    assert (grid.lookup(points) >= 1).mean() > 0.999
    copied = grid.copy()
    grid.insert(np.full((1, 3), 30, np.float32))
    assert copied.lookup(np.full((1, 3), 30, np.float32))[0] == 0
    np.testing.assert_array_equal(copied.lookup(points), grid.lookup(points))


def test_rays_stop_at_the_first_voxel() -> None:
    grid = VoxelGrid(0.1)
    grid.insert(np.array([[2.05, 0.05, 0.05], [3.05, 0.05, 0.05], [3.05, 0.05, 0.05]], np.float32))
    grid.insert(np.array([[3.05, 0.05, 0.05]], np.float32))
    directions = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0.01]], np.float32)
    origin, rays = np.array([0.0, 0.05, 0.05]), np.arange(3)
    start = np.zeros(3, np.float32)
    grid.advance(origin, directions, start, 10.0, rays)
    assert start[0] == pytest.approx(2.0, abs=1e-3)
    assert np.isinf(start[1])
    assert start[2] == pytest.approx(2.0, abs=1e-3)


def test_rays_find_what_small_steps_find() -> None:
    random = np.random.default_rng(3)
    grid = VoxelGrid(0.1)
    scattered = random.uniform(-6, 6, (60, 3)) * [1, 1, 0.3]
    grid.insert(np.concatenate([scattered, scattered + 0.1]).astype(np.float32))
    grid.advance(
        np.zeros(3), np.ones((1, 3), np.float32), np.zeros(1, np.float32), 9.0, np.arange(1)
    )
    grid.insert((random.uniform(2, 3, (40, 3))).astype(np.float32))  # strides must follow
    towards = grid.occupied()[0][random.integers(0, 60, 80)] * 0.1 + 0.05
    t = np.arange(0.2, 25.0, 0.004)
    for origin in np.array([[0.03, 0.02, 0.01], [-11.0, 3.0, 0.5], [12.0, -9.0, 7.0]]):
        directions = (towards - origin + random.normal(0, 0.05, (80, 3))).astype(np.float32)
        directions[:3] = np.eye(3)  # along the axes: never leaves on the other two
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        start = np.full(80, 0.2, np.float32)
        grid.advance(origin, directions, start, 25.0, np.arange(80))
        points = origin + t[:, None, None] * directions
        used = grid.lookup(points.reshape(-1, 3)).reshape(len(t), 80) > 0
        expected = np.where(used.any(0), t[used.argmax(0)], np.inf)
        np.testing.assert_allclose(start, expected, atol=0.005)
        assert np.isfinite(start).mean() > 0.5


def test_spans_of_a_ray() -> None:
    grid = VoxelGrid(0.1)
    grid.insert(np.array([[1.05, 0.05, 0.05], [1.15, 0.05, 0.05], [4.05, 0.05, 0.05]], np.float32))
    spans = np.zeros((4, 2), np.float32)
    origin, direction = np.array([0.0, 0.05, 0.05]), np.array([1.0, 0.0, 0.0])
    store = (grid.voxel_m, grid.index, grid.low, grid.counts)
    number, total = used_spans(origin, direction, 0.2, 4.06, *store, spans)
    assert number == 2
    np.testing.assert_allclose(spans[:2], [[1.0, 1.2], [4.0, 4.06]], atol=2e-3)
    assert total == pytest.approx(0.26, abs=4e-3)


def test_refuses_a_map_of_impossible_size() -> None:
    grid = VoxelGrid(0.01)
    grid.insert(np.zeros((1, 3), np.float32))
    with pytest.raises(ValueError, match="are the poses in one frame"):
        grid.insert(np.full((1, 3), 5000.0, np.float32))
    with pytest.raises(ValueError, match="poses"):
        grid.insert(np.array([[0, 0, 0], [0, np.nan, 0], [1, 1, 1]], np.float32))
