"""The transform buffer against hand-worked numbers and a matrix oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest

import embedded_ros

embedded_ros.install()

from builtin_interfaces.msg import Time as TimeMsg  # noqa: E402
from geometry_msgs.msg import TransformStamped  # noqa: E402
from rclpy.duration import Duration  # noqa: E402
from rclpy.time import Time  # noqa: E402
from tf2_ros import (  # noqa: E402
    Buffer,
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TransformException,
)

from semantic_field.geometry import (  # noqa: E402
    interpolate_transform,
    invert_transform,
    make_transform,
    matrix_from_quaternion,
)

SECOND = 1_000_000_000


def stamped(parent, child, time_s, xyz=(0.0, 0.0, 0.0), quaternion=(0.0, 0.0, 0.0, 1.0)):
    message = TransformStamped()
    message.header.frame_id, message.child_frame_id = parent, child
    stamp_ns = round(time_s * SECOND)
    message.header.stamp = TimeMsg(sec=stamp_ns // SECOND, nanosec=stamp_ns % SECOND)
    for axis, value in zip("xyz", xyz, strict=True):
        setattr(message.transform.translation, axis, float(value))
    for axis, value in zip("xyzw", quaternion, strict=True):
        setattr(message.transform.rotation, axis, float(value))
    return message


def at(time_s):
    return Time(nanoseconds=round(time_s * SECOND))


def matrix(message):
    t, q = message.transform.translation, message.transform.rotation
    return make_transform(matrix_from_quaternion([q.x, q.y, q.z, q.w]), [t.x, t.y, t.z])


def x_of(buffer, target, source, time_s):
    return buffer.lookup_transform(target, source, at(time_s)).transform.translation.x


@pytest.fixture
def buffer():
    return Buffer()


def yaw(degrees):
    half = math.radians(degrees) / 2
    return (0.0, 0.0, math.sin(half), math.cos(half))


# --- interpolation --------------------------------------------------------------------------------


def test_translation_is_interpolated_linearly(buffer):
    buffer.set_transform(stamped("map", "base", 1.0, (0, 0, 0)), "test")
    buffer.set_transform(stamped("map", "base", 2.0, (4, 2, -8)), "test")
    found = buffer.lookup_transform("map", "base", at(1.25))
    t = found.transform.translation
    assert (t.x, t.y, t.z) == pytest.approx((1.0, 0.5, -2.0))
    assert (found.header.stamp.sec, found.header.stamp.nanosec) == (1, 250_000_000)
    assert (found.header.frame_id, found.child_frame_id) == ("map", "base")


def test_rotation_is_interpolated_on_the_sphere(buffer):
    buffer.set_transform(stamped("map", "base", 1.0, quaternion=yaw(0)), "test")
    buffer.set_transform(stamped("map", "base", 2.0, quaternion=yaw(120)), "test")
    q = buffer.lookup_transform("map", "base", at(1.25)).transform.rotation
    # A quarter of 120 degrees; interpolating the components linearly would give 23.4 degrees.
    assert math.degrees(2 * math.atan2(q.z, q.w)) == pytest.approx(30.0)


def test_rotation_goes_the_short_way_round(buffer):
    buffer.set_transform(stamped("map", "base", 1.0, quaternion=yaw(10)), "test")
    far = tuple(-value for value in yaw(50))  # the same rotation with the other sign
    buffer.set_transform(stamped("map", "base", 2.0, quaternion=far), "test")
    q = buffer.lookup_transform("map", "base", at(1.5)).transform.rotation
    assert math.degrees(2 * math.atan(q.z / q.w)) == pytest.approx(30.0)


def test_transforms_may_arrive_in_any_order(buffer):
    for time_s in (3.0, 1.0, 2.0):
        buffer.set_transform(stamped("map", "base", time_s, (time_s, 0, 0)), "test")
    assert x_of(buffer, "map", "base", 1.5) == pytest.approx(1.5)
    assert x_of(buffer, "map", "base", 2.5) == pytest.approx(2.5)


def test_a_second_transform_of_the_same_time_replaces_the_first(buffer):
    buffer.set_transform(stamped("map", "base", 1.0, (1, 0, 0)), "test")
    buffer.set_transform(stamped("map", "base", 1.0, (5, 0, 0)), "test")
    assert x_of(buffer, "map", "base", 1.0) == 5.0


# --- chains ---------------------------------------------------------------------------------------


def test_a_chain_through_a_common_ancestor_and_its_inverse(buffer):
    # map → base at (1, 0, 0) turned by 90 degrees; base → camera at (2, 0, 0); map → table.
    buffer.set_transform(stamped("map", "base", 1.0, (1, 0, 0), yaw(90)), "test")
    buffer.set_transform_static(stamped("base", "camera", 0.0, (2, 0, 0)), "test")
    buffer.set_transform_static(stamped("map", "table", 0.0, (1, 5, 0)), "test")
    camera = buffer.lookup_transform("map", "camera", at(1.0)).transform.translation
    assert (camera.x, camera.y, camera.z) == pytest.approx((1.0, 2.0, 0.0))
    # The table lies 3 m ahead of the camera, which looks along the map's y.
    table = buffer.lookup_transform("camera", "table", at(1.0)).transform.translation
    assert (table.x, table.y, table.z) == pytest.approx((3.0, 0.0, 0.0))


def test_time_zero_is_the_newest_time_of_the_whole_chain(buffer):
    for time_s in (1.0, 2.0, 3.0):
        buffer.set_transform(stamped("map", "odom", time_s, (time_s, 0, 0)), "test")
    for time_s in (1.0, 2.4):
        buffer.set_transform(stamped("odom", "base", time_s, (10 * time_s, 0, 0)), "test")
    found = buffer.lookup_transform("map", "base", Time())
    assert (found.header.stamp.sec, found.header.stamp.nanosec) == (2, 400_000_000)
    assert found.transform.translation.x == pytest.approx(26.4)
    assert buffer.get_latest_common_time("map", "base").nanoseconds == 2_400_000_000


def test_static_transforms_hold_at_every_time(buffer):
    buffer.set_transform_static(stamped("base", "camera", 5.0, (2, 0, 0)), "test")
    assert x_of(buffer, "base", "camera", 1e9) == 2.0
    assert x_of(buffer, "camera", "base", 1.0) == -2.0
    found = buffer.lookup_transform("base", "camera", Time())
    assert (found.header.stamp.sec, found.header.stamp.nanosec) == (0, 0)


def test_what_lies_above_the_common_ancestor_may_be_missing(buffer):
    buffer.set_transform(stamped("map", "base", 1.0), "test")  # only one: nothing known at 5 s
    buffer.set_transform_static(stamped("base", "camera", 0.0, (2, 0, 0)), "test")
    buffer.set_transform_static(stamped("base", "laser", 0.0, (3, 0, 0)), "test")
    assert x_of(buffer, "camera", "laser", 5.0) == 1.0


def test_re_parenting_holds_the_earlier_parent_until_the_later_one(buffer):
    buffer.set_transform_static(stamped("world", "robot", 0.0, (10, 0, 0)), "test")
    buffer.set_transform(stamped("world", "cup", 1.0, (1, 0, 0)), "test")
    buffer.set_transform(stamped("robot", "cup", 2.0, (2, 0, 0)), "test")
    assert x_of(buffer, "world", "cup", 1.9) == pytest.approx(1.0)
    assert x_of(buffer, "world", "cup", 2.0) == pytest.approx(12.0)


def test_full_lookup_goes_through_a_frame_at_rest(buffer):
    for time_s in (1.0, 3.0):
        buffer.set_transform(stamped("map", "base", time_s, (time_s, 0, 0)), "test")
    # Where the robot of t = 1 is, seen from the robot of t = 3: two metres behind.
    found = buffer.lookup_transform_full("base", at(3.0), "base", at(1.0), "map")
    assert found.transform.translation.x == pytest.approx(-2.0)
    assert found.header.stamp.sec == 3


def random_rigid(generator):
    quaternion = generator.normal(size=4)
    return generator.normal(size=3) * 3.0, quaternion / np.linalg.norm(quaternion)


@pytest.mark.parametrize("seed", range(8))
def test_random_trees_agree_with_matrices(seed):
    """Any pair of frames at any time: the product of interpolated 4x4 matrices."""
    generator = np.random.default_rng(seed)
    frames = [f"f{i}" for i in range(9)]
    parents = {frames[i]: frames[generator.integers(i)] for i in range(1, 9)}
    buffer, samples = Buffer(), {}
    for child, parent in parents.items():
        static = generator.random() < 0.3
        times = np.sort(generator.uniform(1.0, 9.0, 1 if static else 12))
        times[[0, -1]] = times[[0, -1]] if static else [1.0, 9.0]
        poses = [random_rigid(generator) for _ in times]
        samples[child] = (times, [make_transform(matrix_from_quaternion(q), t) for t, q in poses])
        for index in generator.permutation(len(times)):
            message = stamped(parent, child, times[index], *poses[index])
            (buffer.set_transform_static if static else buffer.set_transform)(message, "test")

    def to_root(frame, time_s):
        T_root_frame = np.eye(4)
        while frame in parents:
            times, matrices = samples[frame]
            after = min(max(int(np.searchsorted(times, time_s)), 1), max(len(times) - 1, 0))
            T_parent_frame = matrices[0]
            if len(times) > 1:
                fraction = (time_s - times[after - 1]) / (times[after] - times[after - 1])
                T_parent_frame = interpolate_transform(*matrices[after - 1 : after + 1], fraction)
            T_root_frame = T_parent_frame @ T_root_frame
            frame = parents[frame]
        return T_root_frame

    for _ in range(40):
        target, source = generator.choice(frames, 2)
        time_s = generator.uniform(1.0, 9.0)
        expected = invert_transform(to_root(target, time_s)) @ to_root(source, time_s)
        found = matrix(buffer.lookup_transform(str(target), str(source), at(time_s)))
        np.testing.assert_allclose(found, expected, atol=1e-6)


# --- what is not there ----------------------------------------------------------------------------


def test_unknown_frames_are_named(buffer):
    buffer.set_transform(stamped("map", "base", 1.0), "test")
    with pytest.raises(LookupException, match=r"camera.* does not exist"):
        buffer.lookup_transform("map", "camera", Time())
    with pytest.raises(LookupException, match="world"):
        buffer.lookup_transform("world", "base", Time())


def test_two_trees_are_named_with_their_roots(buffer):
    buffer.set_transform(stamped("map", "base", 1.0), "test")
    buffer.set_transform(stamped("odom", "camera", 1.0), "test")
    with pytest.raises(
        ConnectivityException, match=r"'map' and 'camera'.* not part of the same tree"
    ):
        buffer.lookup_transform("map", "camera", at(1.0))
    with pytest.raises(ConnectivityException):
        buffer.lookup_transform("map", "camera", Time())


@pytest.mark.parametrize(
    ("time_s", "words"),
    [
        (0.5, r"into the past.  Requested time 0\.50+ but the earliest data is at time 1.0"),
        (3.5, r"into the future.  Requested time 3\.50+ but the latest data is at time 3.0"),
    ],
)
def test_outside_the_known_times(buffer, time_s, words):
    for known in (1.0, 2.0, 3.0):
        buffer.set_transform(stamped("map", "base", known), "test")
    with pytest.raises(ExtrapolationException, match=words + r".*from frame \[base\] to .*\[map\]"):
        buffer.lookup_transform("map", "base", at(time_s))
    possible, reason = buffer.can_transform("map", "base", at(time_s), return_debug_tuple=True)
    assert not possible and "extrapolation" in reason


def test_a_single_transform_holds_only_at_its_time(buffer):
    buffer.set_transform(stamped("map", "base", 1.0, (7, 0, 0)), "test")
    assert x_of(buffer, "map", "base", 1.0) == 7.0
    with pytest.raises(ExtrapolationException, match=r"only time 1\.0+ is in the buffer"):
        buffer.lookup_transform("map", "base", at(1.1))


@pytest.mark.parametrize("frame", ["", "/map"])
def test_names_that_cannot_be_frames(buffer, frame):
    buffer.set_transform(stamped("map", "base", 1.0), "test")
    with pytest.raises(InvalidArgumentException):
        buffer.lookup_transform(frame, "base", Time())


def test_all_reasons_are_transform_exceptions():
    for kind in (LookupException, ConnectivityException, ExtrapolationException):
        assert issubclass(kind, TransformException)


def test_a_loop_is_an_error_and_no_hang(buffer):
    buffer.set_transform_static(stamped("a", "b", 0.0), "test")
    buffer.set_transform_static(stamped("b", "c", 0.0), "test")
    buffer.set_transform_static(stamped("c", "a", 0.0), "test")
    buffer.set_transform_static(stamped("x", "y", 0.0), "test")
    with pytest.raises(LookupException, match="loop"):
        buffer.lookup_transform("x", "b", Time())
    with pytest.raises(LookupException, match="loop"):
        buffer.lookup_transform("x", "b", at(1.0))


# --- what is not taken ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        stamped("map", "map", 2.0),
        stamped("", "base", 2.0),
        stamped("map", "", 2.0),
        stamped("map", "base", 2.0, (math.nan, 0, 0)),
        stamped("map", "base", 2.0, quaternion=(0, 0, 0, 0)),
        pytest.param(
            stamped("map", "base", 2.0, quaternion=(0, 0, 0, 1.2)),
            marks=pytest.mark.embedded_only("tf2's own takes it, and turns nothing by it"),
        ),
    ],
)
def test_broken_transforms_are_ignored(buffer, broken):
    buffer.set_transform(stamped("map", "base", 1.0), "test")
    buffer.set_transform(broken, "test")
    assert buffer.get_latest_common_time("map", "base").nanoseconds == SECOND


@pytest.mark.embedded_only("tf2's own keeps some transforms for longer")
def test_only_the_last_seconds_are_kept():
    buffer = Buffer(cache_time=Duration(seconds=2.0))
    for time_s in range(1, 8):
        buffer.set_transform(stamped("map", "base", time_s, (time_s, 0, 0)), "test")
    assert x_of(buffer, "map", "base", 5.0) == 5.0
    with pytest.raises(ExtrapolationException, match=r"earliest data is at time 5\.0"):
        buffer.lookup_transform("map", "base", at(4.9))
    buffer.set_transform(stamped("map", "base", 4.0), "test")  # too old to be taken
    with pytest.raises(ExtrapolationException):
        buffer.lookup_transform("map", "base", at(4.5))


def test_clearing_forgets_all_but_the_static_transforms(buffer):
    buffer.set_transform(stamped("map", "base", 100.0, (9, 0, 0)), "test")
    buffer.set_transform_static(stamped("base", "camera", 0.0, (2, 0, 0)), "test")
    buffer.clear()
    assert x_of(buffer, "base", "camera", 1.0) == 2.0
    with pytest.raises(TransformException):
        buffer.lookup_transform("map", "base", at(100.0))
    with pytest.raises(TransformException):
        buffer.lookup_transform("map", "base", Time())
    buffer.set_transform(stamped("map", "base", 1.0, (3, 0, 0)), "test")  # a loop of the recording
    assert x_of(buffer, "map", "camera", 1.0) == 5.0
