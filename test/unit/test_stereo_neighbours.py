"""Which frames a frame is compared with, by poses alone."""

from __future__ import annotations

import numpy as np
import pytest

from semantic_field.generalizable.stereo_neighbours import (
    DEPTHS_M,
    GOOD_RAD,
    GRID,
    WIDE_RAD,
    point_worth,
    stereo_neighbours,
)

SIZE = 120, 160
LENS = np.array([130.0, 130.0, 79.5, 59.5])


def at(x: float, turn: float = 0.0, z: float = 0.0) -> np.ndarray:
    pose = np.eye(4)
    pose[0, 0] = pose[2, 2] = np.cos(turn)
    pose[0, 2], pose[2, 0] = np.sin(turn), -np.sin(turn)
    pose[0, 3], pose[2, 3] = x, z
    return pose


def chosen(poses: list[np.ndarray], count: int) -> list[int]:
    return stereo_neighbours(np.stack(poses), np.tile(LENS, (len(poses), 1)), SIZE, 0, count)


def test_worth_of_a_point_by_hand():
    poses = np.stack([at(0.0), at(0.3), at(0.0), at(0.0, np.pi), at(2.0)])
    worth = point_worth(poses, np.tile(LENS, (5, 1)), SIZE, 0)
    assert worth.shape == (5, len(DEPTHS_M) * GRID[0] * GRID[1])
    # The pixel in row 3, column 4 of the grid, at the third depth:
    u, v = (4 + 0.5) / GRID[1] * 160 - 0.5, (3 + 0.5) / GRID[0] * 120 - 0.5
    point = np.array([(u - 79.5) / 130, (v - 59.5) / 130, 1.0]) * DEPTHS_M[2]
    there = point - [0.3, 0, 0]
    cosine = point @ there / np.linalg.norm(point) / np.linalg.norm(there)
    number = (2 * GRID[0] + 3) * GRID[1] + 4
    assert np.arccos(cosine) < GOOD_RAD
    assert worth[1, number] == pytest.approx(np.arccos(cosine) / GOOD_RAD)
    assert worth[2].max() < 1e-6, "from the same place nothing is learnt"
    assert not worth[3].any(), "behind the camera, whatever its pixels would be"
    far = point - [2.0, 0, 0]
    angle = np.arccos(point @ far / np.linalg.norm(point) / np.linalg.norm(far))
    inside = abs(far[0] / far[2] * 130) < 80
    assert worth[4, number] == pytest.approx(inside * (WIDE_RAD / angle) ** 2)


def test_those_that_look_elsewhere_are_left_out():
    assert chosen([at(0.0), at(0.3, np.pi), at(0.0), at(0.4), at(0.2, 2.0)], 4) == [3]
    assert chosen([at(0.0), at(0.0, 0.3)], 4) == [], "a camera that only turns"


def test_together_they_see_all_of_the_image():
    """Two to the right are alike; one to the left sees what both of them do not."""
    poses = [at(0.0), at(0.35, 0.25), at(0.4, 0.25), at(-0.3, -0.35)]
    both = chosen(poses, 2)
    assert 3 in both and len(both) == 2
    worth = point_worth(np.stack(poses), np.tile(LENS, (4, 1)), SIZE, 0).mean(1)
    assert worth[3] < min(worth[1], worth[2]), "though by itself it sees least"
