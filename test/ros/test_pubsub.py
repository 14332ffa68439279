"""Publishers and subscriptions over real DDS, in one process and between processes."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest

import embedded_ros

embedded_ros.install()

from rclpy.event_handler import SubscriptionEventCallbacks  # noqa: E402
from rclpy.qos import (  # noqa: E402
    DurabilityPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_profile_sensor_data,
)
from rclpy.serialization import serialize_message  # noqa: E402
from rosidl_runtime_py.utilities import get_message  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Empty, String  # noqa: E402

pytestmark = pytest.mark.ros

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
RELIABLE = QoSProfile(depth=100)

USED_TYPES = [
    "builtin_interfaces/msg/Time",
    "diagnostic_msgs/msg/DiagnosticArray",
    "geometry_msgs/msg/PoseStamped",
    "geometry_msgs/msg/TransformStamped",
    "lifecycle_msgs/msg/TransitionEvent",
    "nav_msgs/msg/Odometry",
    "rcl_interfaces/msg/Log",
    "rcl_interfaces/msg/ParameterEvent",
    "rosgraph_msgs/msg/Clock",
    "semantic_field/msg/FieldSnapshot",
    "semantic_field/msg/FieldStatus",
    "semantic_field/msg/Hit",
    "sensor_msgs/msg/CameraInfo",
    "sensor_msgs/msg/CompressedImage",
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/PointCloud2",
    "std_msgs/msg/Empty",
    "std_msgs/msg/String",
    "tf2_msgs/msg/TFMessage",
    "vision_msgs/msg/Detection3DArray",
    "vision_msgs/msg/LabelInfo",
    "visualization_msgs/msg/MarkerArray",
]


def filled(name: str):
    """A message with something in every field."""
    from rosidl_runtime_py.set_message import set_message_fields

    message = get_message(name)()

    def values(kind: str, depth: int):
        if kind.startswith("sequence<"):
            inner = kind[len("sequence<") : -1].split(",")[0]
            return [values(inner, depth) for _ in range(3)] if depth < 4 else []
        if kind.endswith("]"):
            base, _, size = kind[:-1].partition("[")
            return [values(base, depth) for _ in range(int(size))]
        if "/" in kind:
            package, short = kind.split("/")
            fields = get_message(f"{package}/msg/{short}").get_fields_and_field_types()
            return {field: values(inner, depth + 1) for field, inner in fields.items()}
        plain = {"string": "é text", "boolean": True, "float": 0.5, "double": -0.25}
        return {**plain, "octet": b"\x07"}.get(kind, 7)

    for field, kind in message.get_fields_and_field_types().items():
        set_message_fields(message, {field: values(kind, 0)})
    return message


@pytest.mark.parametrize("name", USED_TYPES)
def test_every_used_type_arrives_as_it_was_sent(name, make_context, spin):
    from rclpy.node import Node

    sender, receiver = (Node(n, context=make_context()) for n in ("sender", "receiver"))
    received = []
    receiver.create_subscription(get_message(name), "topic", received.append, LATCHED)
    message = filled(name)
    sender.create_publisher(get_message(name), "topic", LATCHED).publish(message)
    assert spin.until(lambda: received, receiver)
    assert received == [message]
    for node in (sender, receiver):
        node.destroy_node()


def test_order_is_kept_and_nothing_lost_when_reliable(make_node, spin, wait_until):
    sender, receiver = make_node("sender"), make_node("receiver")
    received = []
    receiver.create_subscription(String, "numbers", lambda m: received.append(m.data), RELIABLE)
    publisher = sender.create_publisher(String, "numbers", RELIABLE)
    assert wait_until(lambda: publisher.get_subscription_count() == 1)
    expected = [str(number) for number in range(100)]
    for text in expected:
        publisher.publish(String(data=text))
    assert spin.until(lambda: len(received) == 100, receiver)
    assert received == expected


def test_a_late_joiner_gets_the_last_transient_local_messages(make_node, spin):
    sender = make_node("sender")
    keep_two = QoSProfile(depth=2, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = sender.create_publisher(String, "state", keep_two)
    for text in ("one", "two", "three"):
        publisher.publish(String(data=text))
    late = make_node("late")
    latched, volatile = [], []
    late.create_subscription(String, "state", lambda m: latched.append(m.data), keep_two)
    late.create_subscription(String, "state", lambda m: volatile.append(m.data), 10)
    assert spin.until(lambda: len(latched) == 2, late)
    assert latched == ["two", "three"]
    publisher.publish(String(data="four"))
    assert spin.until(lambda: len(latched) == 3 and volatile, late)
    assert volatile == ["four"]  # nothing of what was sent before it came


def test_a_volatile_subscription_keeps_only_its_depth(make_node, spin, wait_until):
    sender, receiver = make_node("sender"), make_node("receiver")
    received = []
    receiver.create_subscription(String, "burst", lambda m: received.append(m.data), 3)
    publisher = sender.create_publisher(String, "burst", RELIABLE)
    assert wait_until(lambda: publisher.get_subscription_count() == 1)
    for number in range(20):
        publisher.publish(String(data=str(number)))
    assert spin.until(lambda: "19" in received, receiver)
    assert received == ["17", "18", "19"]


def test_raw_bytes_in_and_out(make_node, spin):
    node = make_node("raw")
    received = []
    node.create_subscription(String, "raw", received.append, LATCHED, raw=True)
    data = serialize_message(String(data="abc"))
    node.create_publisher(String, "raw", LATCHED).publish(data)
    assert spin.until(lambda: received, node)
    assert type(received[0]) is bytes
    assert received[0][: len(data)] == data and len(received[0]) - len(data) < 4


def test_callback_with_message_info_gets_the_time_of_sending(make_node, spin):
    node = make_node("info")
    received = []
    node.create_subscription(Empty, "timed", lambda m, info: received.append(info), LATCHED)
    before = time.time_ns()
    node.create_publisher(Empty, "timed", LATCHED).publish(Empty())
    after = time.time_ns()
    assert spin.until(lambda: received, node)
    assert before <= received[0]["source_timestamp"] <= after
    assert received[0]["received_timestamp"] >= received[0]["source_timestamp"]


def test_a_ten_megabyte_message(make_context, spin):
    from rclpy.node import Node

    sender, receiver = (Node(n, context=make_context()) for n in ("sender", "receiver"))
    received = []
    receiver.create_subscription(Image, "big", received.append, LATCHED)
    pixels = np.random.default_rng(1).integers(0, 256, 10_000_000, np.uint8)
    sender.create_publisher(Image, "big", LATCHED).publish(Image(data=pixels))
    assert spin.until(lambda: received, receiver)
    np.testing.assert_array_equal(received[0].data, pixels)
    for node in (sender, receiver):
        node.destroy_node()


def test_incompatible_qos_is_reported_and_nothing_flows(make_node, spin, wait_until):
    node = make_node("picky")
    reports, received = [], []
    callbacks = SubscriptionEventCallbacks(incompatible_qos=reports.append)
    node.create_subscription(String, "best", received.append, RELIABLE, event_callbacks=callbacks)
    publisher = node.create_publisher(String, "best", qos_profile_sensor_data)
    assert not wait_until(lambda: reports, timeout_s=0.2)  # events come by the executor
    assert spin.until(lambda: reports, node)
    assert reports[0].last_policy_kind == QoSPolicyKind.RELIABILITY
    assert publisher.get_subscription_count() == 0
    publisher.publish(String(data="lost"))
    assert not spin.until(lambda: received, node, timeout_s=0.3)


def test_incompatible_qos_without_a_callback_is_a_warning(make_node, spin, capfd):
    node = make_node("warned")
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    node.create_subscription(String, "warned", print, RELIABLE)
    node.create_publisher(String, "warned", best_effort)
    text = []

    def said() -> int:
        text.append(capfd.readouterr().err)
        return "".join(text).count("RELIABILITY")

    assert spin.until(lambda: said() == 2, node)  # by either side
    assert "warned'" in "".join(text)


def test_best_available_takes_what_there_is(make_node, spin, wait_until):
    from rclpy.qos import qos_profile_best_available
    from rclpy.wait_for_message import wait_for_message

    node = make_node("adaptable")
    latched = node.create_publisher(String, "adaptable", LATCHED)
    latched.publish(String(data="kept"))
    assert wait_until(lambda: node.count_publishers("adaptable") == 1)
    found = wait_for_message(
        String, node, "adaptable", qos_profile=qos_profile_best_available, time_to_wait=10.0
    )
    assert found == (True, String(data="kept"))
    node.create_publisher(String, "adaptable", qos_profile_sensor_data)
    assert wait_until(lambda: node.count_publishers("adaptable") == 2)
    adapted = node.create_subscription(String, "adaptable", print, qos_profile_best_available)
    assert adapted.qos_profile.reliability == ReliabilityPolicy.BEST_AVAILABLE  # as was asked for
    assert wait_until(lambda: adapted.get_publisher_count() == 2)
    assert wait_until(lambda: node.count_subscribers("adaptable") == 1)
    (info,) = node.get_subscriptions_info_by_topic("adaptable")
    assert info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    assert info.qos_profile.durability == DurabilityPolicy.VOLATILE
    assert wait_for_message(String, node, "silent", time_to_wait=0.05) == (False, None)


def test_wrong_type_and_destroyed_publishers_are_refused(make_node):
    from rclpy.exceptions import InvalidHandle

    node = make_node("strict")
    publisher = node.create_publisher(String, "strict", 1)
    with pytest.raises(TypeError):
        publisher.publish(Empty())
    assert node.destroy_publisher(publisher) and not node.destroy_publisher(publisher)
    with pytest.raises(InvalidHandle):
        publisher.publish(String())
    with pytest.raises(AttributeError):
        node.create_publisher(int, "strict", 1)


def test_publishing_after_shutdown_is_an_error_that_says_so(make_context):
    from rclpy._rclpy_pybind11 import RCLError
    from rclpy.node import Node

    context = make_context()
    node = Node("late_publisher", context=context)
    publisher = node.create_publisher(String, "too_late", 1)
    context.shutdown()
    with pytest.raises(RCLError):
        publisher.publish(String())
    node.destroy_node()


PUBLISHER = """
import sys
import embedded_ros; embedded_ros.install()
import rclpy
from std_msgs.msg import String
rclpy.init()
node = rclpy.create_node("talker")
publisher = node.create_publisher(String, "chatter", 10)
node.create_timer(0.02, lambda: publisher.publish(String(data=sys.argv[1])))
print("ready")
rclpy.spin(node)
"""


def test_a_killed_publisher_is_forgotten_and_its_successor_heard(
    make_node, spin, start_python, wait_until
):
    node = make_node("listener")
    received = []
    node.create_subscription(String, "chatter", lambda m: received.append(m.data), 10)
    spin.in_background(node)
    first = start_python(PUBLISHER, "first")
    assert wait_until(lambda: "first" in received)
    first.kill()
    start_python(PUBLISHER, "second")
    assert wait_until(lambda: "second" in received)
    # The killed process said no goodbye; its lease (10 s by default) ends all the same.
    assert wait_until(lambda: node.count_publishers("chatter") == 1, timeout_s=30.0)
    assert node.get_node_names().count("talker") == 1


def test_a_killed_subscriber_does_not_block_the_publisher(make_node, start_python, wait_until):
    code = (
        PUBLISHER.replace("create_publisher(String", "create_subscription(String")
        .replace('"chatter", 10)', '"pushed", print, 10)')
        .replace("node.create_timer", "0 and node.create_timer")
    )
    node = make_node("pusher")
    publisher = node.create_publisher(String, "pushed", QoSProfile(depth=5))
    for _ in range(2):
        process = start_python(code, "-")
        assert wait_until(lambda: publisher.get_subscription_count() >= 1)
        process.kill()
        for _ in range(50):
            publisher.publish(String(data="x" * 1000))


HARD = pytest.mark.embedded_only("rclpy may fail in a wait whose context SIGTERM has just ended")


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=HARD)])
def test_signals_end_spinning_and_the_exit_is_clean(number, start_python, make_node, wait_until):
    code = PUBLISHER.replace(
        "rclpy.spin(node)",
        """
from rclpy.executors import ExternalShutdownException
try:
    rclpy.spin(node)
except (KeyboardInterrupt, ExternalShutdownException):
    pass
finally:
    print("ended")
    node.destroy_node()
    rclpy.try_shutdown()
print("left")
""",
    )
    watcher = make_node("watcher")
    # Said from within spinning: a signal before that would end Python, not spinning.
    code = code.replace('print("ready")', 'node.create_timer(0.5, lambda: print("ready"))')
    process = start_python(code, "x")
    assert process.stdout.readline() == "ready\n"
    assert wait_until(lambda: "talker" in watcher.get_node_names())
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert (output.replace("ready\n", ""), process.returncode) == ("ended\nleft\n", 0)
    assert wait_until(lambda: "talker" not in watcher.get_node_names(), timeout_s=5.0)


@pytest.mark.parametrize(
    "end",
    [
        "rclpy.spin_once(node)",  # falls off the end: nothing destroyed, nothing shut down
        pytest.param(
            "import threading\n"
            "threading.Thread(target=rclpy.spin, args=(node,), daemon=True).start()",
            marks=pytest.mark.embedded_only("rclpy aborts where a daemon thread still spins"),
        ),
        "rclpy.spin_once(node); rclpy.shutdown()",
        "raise SystemExit(0)",
    ],
)
def test_untidy_programs_still_exit(end, start_python):
    process = start_python(PUBLISHER.replace("rclpy.spin(node)", end), "x")
    output, _ = process.communicate(timeout=20)
    assert (output, process.returncode) == ("ready\n", 0)
