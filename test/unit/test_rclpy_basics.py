"""What code sees of rclpy without a node: times, clocks, QoS, serialization, plain values."""

from __future__ import annotations

import pytest

import embedded_ros

embedded_ros.install()

import rclpy  # noqa: E402
from rclpy.clock import Clock, JumpThreshold, ROSClock  # noqa: E402
from rclpy.clock_type import ClockType  # noqa: E402
from rclpy.duration import Duration, Infinite  # noqa: E402
from rclpy.qos import (  # noqa: E402
    DurabilityPolicy,
    HistoryPolicy,
    InvalidQoSProfileException,
    LivelinessPolicy,
    QoSCompatibility,
    QoSPresetProfiles,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
    qos_profile_sensor_data,
)
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from rclpy.time import Time  # noqa: E402

# --- time -------------------------------------------------------------------------------------


def ros_time(seconds: float) -> Time:
    return Time(seconds=seconds, clock_type=ClockType.ROS_TIME)


def test_time_and_duration_arithmetic():
    time = Time(seconds=1, nanoseconds=5)
    assert (time + Duration(seconds=2)).nanoseconds == 3_000_000_005
    assert (time - Time(nanoseconds=5)) == Duration(seconds=1)
    assert (time - Duration(seconds=1)).seconds_nanoseconds() == (0, 5)
    assert Time.from_msg(time.to_msg(), ClockType.SYSTEM_TIME) == time
    assert Duration.from_msg(Duration(seconds=-1.5).to_msg()).nanoseconds == -1_500_000_000
    assert Duration(seconds=1) > Duration(nanoseconds=999_999_999) and Infinite > Duration(
        seconds=1
    )
    with pytest.raises(ValueError, match="negative"):
        time - Duration(seconds=2)
    with pytest.raises(ValueError, match="negative"):
        Time(seconds=-1)
    for compare in (lambda a, b: a < b, lambda a, b: a == b, lambda a, b: a - b):
        with pytest.raises(TypeError, match="clock types"):
            compare(time, Time(clock_type=ClockType.ROS_TIME))


def test_clocks_and_jump_callbacks():
    assert isinstance(Clock(clock_type=ClockType.ROS_TIME), ROSClock)
    assert Clock().clock_type is ClockType.SYSTEM_TIME
    clock, seen = ROSClock(), []
    clock.set_ros_time_override(ros_time(100))
    assert clock.now().nanoseconds > 10**18  # not active yet: the system's time
    threshold = JumpThreshold(
        min_forward=Duration(seconds=5), min_backward=Duration(nanoseconds=-1)
    )
    handle = clock.create_jump_callback(
        threshold,
        pre_callback=lambda: seen.append("before"),
        post_callback=lambda jump: seen.append(jump.delta.nanoseconds),
    )
    clock._set_ros_time_is_active(True)
    assert clock.now().nanoseconds == 100 * 10**9 and len(seen) == 2
    seen.clear()
    for seconds in (104, 109, 108.5):
        clock.set_ros_time_override(ros_time(seconds))
    assert seen == ["before", 5 * 10**9, "before", -500_000_000]
    handle.unregister()
    with pytest.raises(ValueError, match="min_backward"):
        JumpThreshold(min_forward=None, min_backward=Duration(seconds=1))


# --- QoS --------------------------------------------------------------------------------------


def test_profiles():
    assert qos_profile_sensor_data.reliability == ReliabilityPolicy.BEST_EFFORT
    assert qos_profile_sensor_data.depth == 5
    assert QoSProfile(depth=3) == QoSProfile(depth=3) != QoSProfile(depth=4)
    assert QoSProfile(depth=1).history == HistoryPolicy.KEEP_LAST
    assert QoSPresetProfiles.get_from_short_key("sensor_data") == qos_profile_sensor_data
    with pytest.raises(InvalidQoSProfileException):
        QoSProfile(reliability=ReliabilityPolicy.RELIABLE)
    with pytest.raises(InvalidQoSProfileException):
        QoSProfile(history=HistoryPolicy.KEEP_LAST)
    with pytest.raises(AssertionError, match="nonsense"):
        QoSProfile(depth=1, nonsense=2)


def test_compatibility_of_profiles():
    alive = {"depth": 1, "liveliness": LivelinessPolicy.AUTOMATIC}
    latched = QoSProfile(durability=DurabilityPolicy.TRANSIENT_LOCAL, **alive)
    plain = QoSProfile(**alive)
    assert qos_check_compatible(latched, plain) == (QoSCompatibility.OK, "")
    for publisher, subscription in ((plain, latched), (qos_profile_sensor_data, plain)):
        found, reason = qos_check_compatible(publisher, subscription)
        assert found == QoSCompatibility.ERROR and reason


# --- serialization and rosidl_runtime_py ------------------------------------------------------


def test_serialize_and_deserialize():
    from std_msgs.msg import String

    data = serialize_message(String(data="hi"))
    assert data == bytes.fromhex("00010000" + "03000000" + "686900")
    assert deserialize_message(data, String) == String(data="hi")


def test_messages_from_and_to_plain_values():
    from rosidl_runtime_py import message_to_csv, message_to_ordereddict, message_to_yaml
    from rosidl_runtime_py.set_message import set_message_fields
    from sensor_msgs.msg import Image
    from vision_msgs.msg import Detection3DArray

    message = Detection3DArray()
    box = {"center": {"position": {"x": 1}}, "size": {"z": 2.5}}
    detections = [{"id": "7", "bbox": box}, {"id": "8"}]
    set_message_fields(message, {"header": {"frame_id": "map"}, "detections": detections})
    assert [item.id for item in message.detections] == ["7", "8"]
    assert message.detections[0].bbox.center.position.x == 1.0
    plain = message_to_ordereddict(message)
    assert plain["detections"][0]["bbox"]["size"] == {"x": 0.0, "y": 0.0, "z": 2.5}
    assert "frame_id: map" in message_to_yaml(message)
    assert message_to_csv(message).startswith("0,0,map,0,0,,,1.0,")
    with pytest.raises(AttributeError, match="nothing"):
        set_message_fields(message, {"nothing": 1})
    image = Image()
    set_message_fields(image, {"height": "3"})  # as texts of the command line are
    assert image.height == 3


def test_long_arrays_are_shortened():
    from rosidl_runtime_py import message_to_ordereddict
    from sensor_msgs.msg import Image

    image = Image(data=bytes(1000), encoding="a" * 50)
    plain = message_to_ordereddict(image, truncate_length=4)
    assert plain["data"] == [0, 0, 0, 0, "..."] and plain["encoding"] == "aaaa..."
    short = message_to_ordereddict(image, no_arr=True, no_str=True)
    assert short["data"] == "<sequence type: uint8, length: 1000>"
    assert short["encoding"] == "<string length: <50>>"


def test_classes_by_name():
    from rosidl_runtime_py.utilities import get_interface, get_message, get_service
    from std_msgs.msg import String
    from std_srvs.srv import Trigger

    assert get_message("std_msgs/msg/String") is get_message("std_msgs/String") is String
    assert get_service("std_srvs/srv/Trigger") is get_interface("std_srvs/srv/Trigger") is Trigger
    with pytest.raises(ValueError):
        get_message("String")


def test_a_clock_sleeps_as_long_as_the_default_context_is_there():
    rclpy.init(args=[])
    try:
        assert Clock().sleep_for(Duration(nanoseconds=1000))
    finally:
        rclpy.shutdown()
