"""Transforms of a recording: chains, interpolation, and what is refused."""

import numpy as np
import pytest

from semantic_field.data.bag_poses import PoseError, Track, TransformTree

NO_TURN = np.array([0, 0, 0, 1.0])
HALF = np.sqrt(0.5)
LEFT = np.array([0, 0, HALF, HALF])  # 90 degrees about z


@pytest.fixture
def tree() -> TransformTree:
    """map → odom → base → camera; the base drives 1 m and turns left by 90 degrees in 1 s."""
    tree = TransformTree()
    tree.add("map", "odom", 0, np.array([10.0, 0, 0]), NO_TURN, static=True)
    tree.add("odom", "base", 10**9, np.zeros(3), NO_TURN, static=False)
    tree.add("odom", "base", 2 * 10**9, np.array([1.0, 0, 0]), LEFT, static=False)
    tree.add("/base", "/camera", 5, np.array([0, 0, 1.5]), NO_TURN, static=True)
    return tree


def test_chain_with_interpolation(tree):
    T = tree.at("map", "camera", 1_500_000_000)
    np.testing.assert_allclose(T[:3, 3], [10.5, 0, 1.5], atol=1e-12)
    c = np.cos(np.pi / 4)
    np.testing.assert_allclose(T[:2, :2], [[c, -c], [c, c]], atol=1e-12)


def test_backwards_and_sideways(tree):
    tree.add("base", "arm", 0, np.array([0.3, 0, 0]), NO_TURN, static=True)
    np.testing.assert_allclose(
        tree.at("camera", "map", 2 * 10**9)[:3, 3], [0, 11, -1.5], atol=1e-12
    )
    np.testing.assert_allclose(tree.at("arm", "camera", 10**9)[:3, 3], [-0.3, 0, 1.5], atol=1e-12)


def test_time_outside_is_refused(tree):
    for stamp, words in ((999_999_999, "before the first"), (2_000_000_001, "after the last")):
        with pytest.raises(PoseError, match=words) as error:
            tree.at("map", "camera", stamp)
        assert error.value.cause == "no_transform"


def test_unknown_and_unconnected_frames(tree):
    with pytest.raises(PoseError, match=r"'lidar'.*base, camera, map, odom"):
        tree.at("map", "lidar", 10**9)
    tree.add("island", "hut", 0, np.zeros(3), NO_TURN, static=True)
    with pytest.raises(PoseError, match="does not connect"):
        tree.at("map", "hut", 10**9)
    assert tree.root("camera") == "map"


def test_loop_in_the_tree(tree):
    tree.add("camera", "map", 0, np.zeros(3), NO_TURN, static=True)
    tree.add("x", "y", 0, np.zeros(3), NO_TURN, static=True)
    with pytest.raises(PoseError, match="loop"):
        tree.at("y", "camera", 10**9)


def test_short_way_round():
    # 170 and 190 degrees about z, the second quaternion with the other sign: between them is 180.
    track = Track("camera")
    for stamp, degrees, sign in ((0, 170, 1), (100, 190, -1)):
        half = np.radians(degrees) / 2
        q = sign * np.array([0, 0, np.sin(half), np.cos(half)])
        track.add(stamp, "map", np.zeros(3), q)
    _, T = track.at(50)
    np.testing.assert_allclose(T[:2, :2], [[-1, 0], [0, -1]], atol=1e-12)


def test_gaps_and_broken_quaternions():
    track = Track("camera", max_gap_s=0.5)
    track.add(0, "map", np.zeros(3), NO_TURN)
    track.add(10**9, "map", np.zeros(3), np.zeros(4))
    with pytest.raises(PoseError, match=r"1\.0 s apart") as error:
        track.at(5 * 10**8)
    assert error.value.cause == "no_pose"
    with pytest.raises(PoseError) as error:
        track.at(10**9)
    assert error.value.cause == "bad_pose"
    assert track.at(0)[0] == "map"
