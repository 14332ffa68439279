"""Transforms over DDS: broadcasters, listeners, late joiners, waiting, jumps of the clock."""

from __future__ import annotations

import os
import threading
import time

import pytest

import embedded_ros

embedded_ros.install()

import rclpy  # noqa: E402
from builtin_interfaces.msg import Time as TimeMsg  # noqa: E402
from geometry_msgs.msg import TransformStamped  # noqa: E402
from message_filters import ApproximateTimeSynchronizer, Cache, Subscriber  # noqa: E402
from rclpy.duration import Duration  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.time import Time  # noqa: E402
from rosgraph_msgs.msg import Clock as ClockMessage  # noqa: E402
from sensor_msgs.msg import CameraInfo  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402
from tf2_msgs.srv import FrameGraph  # noqa: E402
from tf2_ros import (  # noqa: E402
    Buffer,
    StaticTransformBroadcaster,
    TransformBroadcaster,
    TransformException,
    TransformListener,
)

from semantic_field.nodes.ros.spinning import Spinning  # noqa: E402

pytestmark = pytest.mark.ros
TIMEOUT_S = 20.0
LONG = Duration(seconds=TIMEOUT_S)


def stamped(parent, child, time_s, x=0.0):
    message = TransformStamped()
    message.header.frame_id, message.child_frame_id = parent, child
    nanoseconds = round(time_s * 1e9)
    message.header.stamp = TimeMsg(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)
    message.transform.translation.x = float(x)
    return message


def at(time_s):
    return Time(nanoseconds=round(time_s * 1e9))


def wait_until(condition, what):
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.005)


def running_context():
    """A participant of its own on this process's domain."""
    context = rclpy.Context()
    rclpy.init(args=[], context=context, domain_id=100 + os.getpid() % 100)
    yield context
    rclpy.shutdown(context=context)


context = pytest.fixture(running_context, scope="module", name="context")
other_context = pytest.fixture(running_context, scope="module", name="other_context")


@pytest.fixture
def make_node(context, other_context):
    """Nodes; the senders among them belong to another participant than the listeners."""
    nodes = []

    def make(name, **options):
        sends = name in ("robot", "camera", "player", "caller")
        nodes.append(Node(name, context=other_context if sends else context, **options))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()


@pytest.fixture
def spin():
    """Spin nodes in a thread each until the test ends."""
    running = []

    def start(*nodes):
        for node in nodes:
            executor = SingleThreadedExecutor(context=node.context)
            executor.add_node(node)
            running.append(Spinning(executor))

    yield start
    for spinning in running:
        spinning.stop()


@pytest.fixture
def listening(make_node, spin):
    """A buffer whose listener's node spins in a thread of its own."""
    node, buffer = make_node("listener"), Buffer()
    listener = TransformListener(buffer, node)
    spin(node)
    yield buffer, node
    listener.unregister()


def test_a_lookup_waits_for_what_is_sent(listening, make_node):
    buffer, _ = listening
    broadcaster = TransformBroadcaster(make_node("robot"))
    wait_until(lambda: broadcaster.pub_tf.get_subscription_count() > 0, "a listener")
    late = threading.Timer(
        0.1,
        broadcaster.sendTransform,
        [[stamped("map", "base", 1.0, 1.0), stamped("base", "camera", 1.0, 2.0)]],
    )
    late.start()
    found = buffer.lookup_transform("map", "camera", at(1.0), LONG)
    late.join()
    assert found.transform.translation.x == 3.0
    broadcaster.sendTransform(stamped("map", "base", 3.0, 5.0))
    assert buffer.can_transform("map", "base", at(3.0), LONG)
    found = buffer.lookup_transform("map", "base", at(2.0))
    assert found.transform.translation.x == pytest.approx(3.0)


def test_a_late_listener_gets_all_static_transforms(make_node, spin):
    broadcaster = StaticTransformBroadcaster(make_node("robot"))
    broadcaster.sendTransform(stamped("base", "camera", 0.0, 1.0))
    broadcaster.sendTransform([stamped("base", "laser", 0.0, 2.0)])
    node, buffer = make_node("late"), Buffer()
    listener = TransformListener(buffer, node)  # noqa: F841 (kept)
    spin(node)
    found = buffer.lookup_transform("base", "camera", at(1.0), LONG)
    assert found.transform.translation.x == 1.0
    found = buffer.lookup_transform("laser", "camera", at(1.0), LONG)
    assert found.transform.translation.x == -1.0


@pytest.mark.embedded_only("later releases than Jazzy may send the new one")
def test_a_broadcaster_sends_the_first_static_transform_of_a_frame_for_ever(make_node, spin):
    broadcaster = StaticTransformBroadcaster(make_node("robot"))
    for x in (1.0, 3.0):
        broadcaster.sendTransform(stamped("base", "camera", 0.0, x))
    node, buffer = make_node("late"), Buffer()
    listener = TransformListener(buffer, node)  # noqa: F841 (kept)
    spin(node)
    found = buffer.lookup_transform("base", "camera", at(1.0), LONG)
    assert found.transform.translation.x == 1.0


def test_two_static_broadcasters_do_not_replace_each_other(listening, make_node):
    buffer, _ = listening
    robot = StaticTransformBroadcaster(make_node("robot"))
    camera = StaticTransformBroadcaster(make_node("camera"))
    robot.sendTransform(stamped("base", "mast", 0.0, 1.0))
    camera.sendTransform(stamped("mast", "optical", 0.0, 2.0))
    found = buffer.lookup_transform("base", "optical", Time(), LONG)
    assert found.transform.translation.x == 3.0


@pytest.mark.embedded_only("Jazzy's own thread of a listener cannot be ended")
def test_a_listener_may_spin_by_itself(make_node):
    """With spin_thread a callback of another node, or the main thread, can wait."""
    node, buffer = make_node("listener"), Buffer()
    listener = TransformListener(buffer, node, spin_thread=True)
    broadcaster = StaticTransformBroadcaster(make_node("robot"))
    broadcaster.sendTransform(stamped("map", "base", 0.0, 4.0))
    assert buffer.lookup_transform("map", "base", Time(), LONG).transform.translation.x == 4.0
    listener.unregister()
    assert not listener.dedicated_listener_thread.is_alive()
    assert not [s.topic_name for s in node.subscriptions if "tf" in s.topic_name]


def test_a_callback_may_wait_in_a_multithreaded_executor(make_node, context):
    """The listener's callbacks are in a group of their own, so that they are not shut out."""
    from rclpy.executors import MultiThreadedExecutor

    node, buffer, found = make_node("busy"), Buffer(), []
    listener = TransformListener(buffer, node)  # noqa: F841 (kept)
    done = threading.Event()

    def wait_for_it():
        timer.cancel()
        found.append(buffer.lookup_transform("map", "camera", at(1.0), LONG))
        done.set()

    timer = node.create_timer(0.01, wait_for_it)
    executor = MultiThreadedExecutor(2, context=context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    robot = make_node("robot")
    broadcaster, static = TransformBroadcaster(robot), StaticTransformBroadcaster(robot)
    wait_until(lambda: broadcaster.pub_tf.get_subscription_count() > 0, "a listener")
    wait_until(timer.is_canceled, "the callback")
    broadcaster.sendTransform(stamped("map", "base", 1.0, 6.0))
    static.sendTransform(stamped("base", "camera", 0.0, 1.0))
    assert done.wait(TIMEOUT_S)
    assert found[0].transform.translation.x == 7.0
    executor.shutdown()
    thread.join()


def test_a_coroutine_may_wait_in_a_single_thread(make_node, context):
    node, buffer, found = make_node("patient"), Buffer(), []
    listener = TransformListener(buffer, node)  # noqa: F841 (kept)
    broadcaster = TransformBroadcaster(make_node("robot"))

    async def wait_for_it():
        timer.cancel()
        broadcaster.sendTransform(stamped("map", "base", 1.0, 6.0))
        found.append(await buffer.lookup_transform_async("map", "base", at(1.0)))

    timer = node.create_timer(0.01, wait_for_it)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    end = time.monotonic() + TIMEOUT_S
    while not found and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.1)
    executor.shutdown()
    assert found and found[0].transform.translation.x == 6.0


def test_a_clock_that_jumps_back_clears_the_buffer(make_node, spin):
    simulated = [Parameter("use_sim_time", value=True)]
    node = make_node("listener", parameter_overrides=simulated)
    buffer, unmoved = Buffer(node=node), Buffer()
    listeners = [TransformListener(one, node) for one in (buffer, unmoved)]
    spin(node)
    player = make_node("player")
    clock = player.create_publisher(ClockMessage, "/clock", 10)
    moving, static = TransformBroadcaster(player), StaticTransformBroadcaster(player)
    wait_until(lambda: clock.get_subscription_count() > 0, "the clock's subscriber")
    wait_until(lambda: moving.pub_tf.get_subscription_count() > 0, "a listener")

    def set_clock(seconds):
        def arrived():
            clock.publish(ClockMessage(clock=TimeMsg(sec=seconds)))
            return node.get_clock().now().nanoseconds == seconds * 10**9

        wait_until(arrived, f"clock {seconds}")

    set_clock(100)
    static.sendTransform(stamped("base", "camera", 0.0, 2.0))
    moving.sendTransform(stamped("map", "base", 100.0, 1.0))
    assert buffer.can_transform("map", "camera", at(100.0), LONG)
    set_clock(101)
    assert buffer.can_transform("map", "camera", at(100.0))
    set_clock(5)  # the recording starts again
    wait_until(lambda: not buffer.can_transform("map", "camera", at(100.0)), "an empty buffer")
    assert unmoved.can_transform("map", "camera", at(100.0))  # no clock is known to it
    moving.sendTransform(stamped("map", "base", 5.0, 7.0))
    found = buffer.lookup_transform("map", "camera", at(5.0), LONG)
    assert found.transform.translation.x == 9.0
    for listener in listeners:
        listener.unregister()


def test_a_node_keeps_its_listeners(make_node):
    node = make_node("listener")
    TransformListener(Buffer(), node)
    assert len([s for s in node.subscriptions if s.topic_name.startswith("/tf")]) == 2


def test_qos_is_that_of_tf(listening):
    _, node = listening
    by_topic = {s.topic_name: s.qos_profile for s in node.subscriptions if "tf" in s.topic_name}
    assert by_topic["/tf_static"].durability.name == "TRANSIENT_LOCAL"
    assert by_topic["/tf"].durability.name == "VOLATILE"
    assert {q.reliability.name for q in by_topic.values()} == {"RELIABLE"}


def test_frames_can_be_asked_for(make_node, spin):
    node = make_node("listener")
    buffer = Buffer(node=node)
    buffer.set_transform(stamped("map", "base", 1.0), "me")
    caller = make_node("caller")
    spin(node, caller)
    client = caller.create_client(FrameGraph, "tf2_frames")
    assert client.wait_for_service(timeout_sec=TIMEOUT_S)
    assert "parent: 'map'" in client.call(FrameGraph.Request()).frame_yaml


def test_nothing_arrives_after_unregistering(make_node, spin):
    node, buffer = make_node("listener"), Buffer()
    listener = TransformListener(buffer, node)
    spin(node)
    listener.unregister()
    listener.unregister()  # twice is no error
    publisher = make_node("robot").create_publisher(TFMessage, "/tf", 10)
    publisher.publish(TFMessage(transforms=[stamped("map", "base", 1.0)]))
    with pytest.raises(TransformException):
        buffer.lookup_transform("map", "base", at(1.0), Duration(seconds=0.1))


def test_streams_are_synchronised_over_dds(make_node, spin):
    """Two topics with stamps 3 ms apart, one of them late, through Subscriber and synchroniser."""
    node, camera = make_node("mapper"), make_node("camera")
    pairs, enough = [], threading.Event()

    def on_pair(color, depth):
        pairs.append((color.header.stamp.nanosec, depth.header.stamp.nanosec))
        if len(pairs) == 20:
            enough.set()

    inputs = [Subscriber(node, CameraInfo, name, qos_profile=50) for name in ("color", "depth")]
    cache = Cache(inputs[0], 5)
    synchroniser = ApproximateTimeSynchronizer(inputs, 10, 0.01)
    synchroniser.registerCallback(on_pair)
    assert inputs[0].getTopic() == "color"
    publishers = [camera.create_publisher(CameraInfo, name, 50) for name in ("color", "depth")]
    for publisher in publishers:
        wait_until(lambda p=publisher: p.get_subscription_count() > 0, "a subscriber")
    spin(node)
    for index in range(20):
        for publisher, shift in zip(publishers, (0, 3), strict=True):
            message = CameraInfo()
            message.header.stamp = TimeMsg(nanosec=(index * 33 + shift) * 10**6)
            publisher.publish(message)
    assert enough.wait(TIMEOUT_S)
    assert pairs == [(i * 33 * 10**6, (i * 33 + 3) * 10**6) for i in range(20)]
    assert len(cache.cache_msgs) == 5
