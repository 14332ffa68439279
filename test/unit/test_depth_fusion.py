"""Depth images made consistent: what others see through goes, what they confirm is averaged."""

from __future__ import annotations

import numpy as np
import pytest

from semantic_field.generalizable.depth_fusion import LEAST, fused

V, H, W, WALL_M = 3, 24, 32, 3.0
LENSES = np.tile([30.0, 30.0, 15.5, 11.5], (V, 1))


def poses() -> np.ndarray:
    """Three cameras side by side that look along z at a wall 3 m away."""
    T = np.tile(np.eye(4), (V, 1, 1))
    T[:, 0, 3] = [-0.2, 0.0, 0.2]
    return T


def wall() -> tuple[np.ndarray, np.ndarray]:
    return np.full((V, H, W), WALL_M), np.full((V, H, W), 0.6)


def test_what_agrees_stays_and_is_averaged_by_confidence():
    depths, confidence = wall()
    depths[0] += 0.04
    confidence[0] = 0.2
    found = fused(depths, confidence, LENSES, poses())
    inner = found[:, :, 4:-4]
    assert (inner > 0).all()
    expected = (3.04 * 0.2 + 3.0 * 0.6 * 2) / 1.4
    np.testing.assert_allclose(inner, expected, atol=2e-3)


def test_what_the_others_see_through_goes():
    depths, confidence = wall()
    depths[1, 8:12, 12:18] = 1.5  # nothing is there: both others see the wall behind it
    found = fused(depths, confidence, LENSES, poses())
    assert not found[1, 8:12, 12:18].any()
    assert (found[1, :6] > 0).all()


def test_what_is_hidden_from_the_others_stays_if_it_is_confident():
    """Depth behind the others' surface is no contradiction; only its own confidence counts."""
    depths, confidence = wall()
    depths[1, 8:12, 12:18] = 5.0
    confidence[1, 8:12, 12:15] = 0.9
    confidence[1, 8:12, 15:18] = 0.9 * LEAST
    found = fused(depths, confidence, LENSES, poses())
    assert found[1, 8:12, 12:15] == pytest.approx(5.0)
    assert not found[1, 8:12, 15:18].any()


def test_no_depth_and_no_neighbour():
    depths, confidence = wall()
    depths[2] = 0
    found = fused(depths, confidence, LENSES, poses())
    assert not found[2].any() and (found[:2] > 0).all()
    alone = fused(depths[:1], confidence[:1], LENSES[:1], poses()[:1])
    assert np.array_equal(alone, depths[:1].astype(np.float32))


def test_cameras_that_look_back_say_nothing():
    depths, confidence = wall()
    turned = poses()
    turned[[0, 2]] = np.diag([-1.0, 1.0, -1.0, 1.0])
    depths[1] = 1.0  # the others' wall is 3 m behind them: it is not seen through anything
    found = fused(depths, confidence, LENSES, turned)
    assert (found[1] == 1.0).all()
