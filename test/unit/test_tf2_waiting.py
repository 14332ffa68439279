"""The transform buffer: waiting, futures, messages in another frame, lists of frames."""

from __future__ import annotations

import gc
import math
import threading
import weakref

import pytest

import embedded_ros

embedded_ros.install()

from builtin_interfaces.msg import Time as TimeMsg  # noqa: E402
from geometry_msgs.msg import PoseStamped, TransformStamped  # noqa: E402
from rclpy.duration import Duration  # noqa: E402
from rclpy.time import Time  # noqa: E402
from tf2_ros import (  # noqa: E402
    Buffer,
    LookupException,
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


@pytest.fixture
def buffer():
    return Buffer()


def yaw(degrees):
    half = math.radians(degrees) / 2
    return (0.0, 0.0, math.sin(half), math.cos(half))


def test_a_lookup_waits_for_its_transform(buffer):
    late = threading.Timer(0.05, buffer.set_transform, [stamped("map", "base", 1.0), "test"])
    late.start()
    found = buffer.lookup_transform("map", "base", at(1.0), Duration(seconds=30.0))
    late.join()
    assert found.child_frame_id == "base"


def test_waiting_ends_with_the_reason(buffer):
    with pytest.raises(LookupException):
        buffer.lookup_transform("map", "base", at(1.0), Duration(seconds=0.02))


def test_a_future_is_done_once_the_transform_is_there(buffer):
    future = buffer.wait_for_transform_async("map", "base", at(1.5))
    buffer.set_transform(stamped("map", "base", 1.0, (0, 0, 0)), "test")
    assert not future.done()
    buffer.set_transform(stamped("map", "base", 2.0, (1, 0, 0)), "test")
    assert future.done() and future.result().transform.translation.x == pytest.approx(0.5)
    assert buffer.wait_for_transform_async("map", "base", at(1.5)).done()
    gone = weakref.ref(future)
    del future
    gc.collect()
    assert gone() is None  # nothing is left behind


def test_a_cancelled_future_is_forgotten(buffer):
    future = buffer.wait_for_transform_async("map", "base", at(1.5))
    future.cancel()
    gone = weakref.ref(future)
    del future
    gc.collect()
    assert gone() is None  # nothing is left behind


def test_poses_are_transformed_into_another_frame(buffer):
    import tf2_geometry_msgs  # registers itself

    assert tf2_geometry_msgs.do_transform_pose is not None
    buffer.set_transform(stamped("map", "base", 1.0, (1, 0, 0), yaw(90)), "test")
    pose = PoseStamped()
    pose.header.frame_id, pose.header.stamp = "base", TimeMsg(sec=1)
    pose.pose.position.x = 2.0
    found = buffer.transform(pose, "map")
    assert found.header.frame_id == "map"
    p, q = found.pose.position, found.pose.orientation
    assert (p.x, p.y) == pytest.approx((1.0, 2.0))
    assert (q.z, q.w) == pytest.approx((math.sqrt(0.5), math.sqrt(0.5)))


def test_frames_are_listed(buffer):
    buffer.set_transform(stamped("map", "base", 1.0), "me")
    buffer.set_transform(stamped("map", "base", 2.0), "me")
    assert buffer.all_frames_as_string() == "Frame base exists with parent map.\n"
    assert "parent: 'map'" in buffer.all_frames_as_yaml()
    assert "rate: 2.000" in buffer.all_frames_as_yaml()
