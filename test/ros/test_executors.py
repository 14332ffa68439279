"""Executors, callback groups, timers, simulated time and logging of real nodes."""

from __future__ import annotations

import contextlib
import gc
import threading
import time

import pytest

import embedded_ros

embedded_ros.install()

from builtin_interfaces.msg import Time as TimeMessage  # noqa: E402
from rcl_interfaces.msg import Log  # noqa: E402
from rclpy.callback_groups import (  # noqa: E402
    MutuallyExclusiveCallbackGroup,
    ReentrantCallbackGroup,
)
from rclpy.clock import ClockChange, ClockType, JumpThreshold  # noqa: E402
from rclpy.duration import Duration  # noqa: E402
from rclpy.executors import (  # noqa: E402
    ExternalShutdownException,
    MultiThreadedExecutor,
    SingleThreadedExecutor,
)
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from rclpy.task import Future  # noqa: E402
from rclpy.time import Time  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from std_msgs.msg import String  # noqa: E402

pytestmark = pytest.mark.ros


class Overlap:
    """Counts how many callbacks run at the same time."""

    def __init__(self, wanted: int) -> None:
        self.lock, self.running, self.most, self.calls = threading.Lock(), 0, 0, 0
        self.all_there = threading.Barrier(wanted)

    def alone(self) -> None:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(0.01)
        with self.lock:
            self.running -= 1
            self.calls += 1

    def together(self) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):  # when the test is over
            self.all_there.wait(timeout=10.0)
            self.calls += 1


def test_mutually_exclusive_callbacks_never_overlap(make_node, spin, wait_until):
    node, overlap = make_node("exclusive"), Overlap(1)
    group = MutuallyExclusiveCallbackGroup()
    for _ in range(4):
        node.create_timer(0.001, overlap.alone, callback_group=group)
    spin.in_background(node, executor=MultiThreadedExecutor(4, context=node.context))
    assert wait_until(lambda: overlap.calls >= 20)
    assert overlap.most == 1


@pytest.mark.parametrize("one_group", [True, False])
def test_reentrant_and_separate_groups_run_together(make_node, spin, wait_until, one_group):
    """Three callbacks that each wait for the other two."""
    node, overlap = make_node("together"), Overlap(3)
    shared = ReentrantCallbackGroup()
    timers = [
        node.create_timer(
            0.01,
            overlap.together,
            callback_group=shared if one_group else MutuallyExclusiveCallbackGroup(),
        )
        for _ in range(3)
    ]
    executor = MultiThreadedExecutor(3, context=node.context)
    spin.in_background(node, executor=executor)
    assert wait_until(lambda: overlap.calls >= 3)
    for timer in timers:
        timer.cancel()
    overlap.all_there.abort()


def test_a_busy_group_does_not_make_the_executor_spin_idle(make_node, spin, wait_until):
    """While a callback runs its group's other messages wait, and so does the executor."""
    node = make_node("busy")
    release, received = threading.Event(), []

    def hold(message: String) -> None:
        received.append(message.data)
        release.wait(10.0)

    latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    node.create_subscription(String, "held", hold, latched)
    publisher = node.create_publisher(String, "held", latched)
    executor = MultiThreadedExecutor(2, context=node.context)
    spin.in_background(node, executor=executor)
    publisher.publish(String(data="one"))
    publisher.publish(String(data="two"))
    assert wait_until(lambda: received == ["one"])
    before, cpu = time.monotonic(), time.process_time()
    time.sleep(0.5)
    assert time.process_time() - cpu < 0.25 * (time.monotonic() - before)
    release.set()
    assert wait_until(lambda: received == ["one", "two"])


def test_exceptions_of_callbacks_come_out_of_spin(make_node):
    for make_executor in (SingleThreadedExecutor, MultiThreadedExecutor):
        node = make_node(f"failing_{make_executor.__name__}")
        node.create_timer(0.01, lambda: 1 / 0)
        executor = make_executor(context=node.context)
        executor.add_node(node)
        with pytest.raises(ZeroDivisionError):
            executor.spin()
        executor.shutdown()


def test_shutdown_of_the_context_ends_spinning(make_context):
    """By an exception in the single-threaded executor, without a word in the other."""
    for make_executor in (SingleThreadedExecutor, MultiThreadedExecutor):
        context = make_context()
        node = Node("ended", context=context)
        executor = make_executor(context=context)
        executor.add_node(node)
        threading.Timer(0.2, context.shutdown).start()
        if make_executor is SingleThreadedExecutor:
            with pytest.raises(ExternalShutdownException):
                executor.spin()
        else:
            executor.spin()
        node.destroy_node()
        with pytest.raises(RuntimeError):
            context.init()  # a context runs once


def test_spin_once_and_until_future_come_back_in_time(make_node):
    node = make_node("timed")
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    executor.spin_once(timeout_sec=0.0)
    executor.spin_once(timeout_sec=0.05)
    future = Future()
    executor.spin_until_future_complete(future, timeout_sec=0.05)
    assert not future.done()
    threading.Timer(0.1, future.set_result, args=(5,)).start()
    executor.spin_until_future_complete(future)
    assert future.result() == 5
    executor.shutdown()


def test_tasks_and_coroutines(make_node, spin):
    node = make_node("tasks")
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    gate, order = Future(), []

    async def wait_for_gate(name: str) -> str:
        order.append(name)
        order.append(await gate)
        return name

    plain = executor.create_task(lambda a, b: a + b, 1, b=2)
    executor.spin_until_future_complete(plain, timeout_sec=5.0)
    task = executor.create_task(wait_for_gate, "waiting")
    executor.spin_once(timeout_sec=5.0)
    assert plain.result() == 3 and order == ["waiting"] and not task.done()
    node.create_timer(0.01, lambda: gate.set_result("open"))
    executor.spin_until_future_complete(task, timeout_sec=5.0)
    assert task.result() == "waiting" and order == ["waiting", "open"]
    executor.shutdown()


def test_what_a_task_raises_comes_out_of_spin(make_node):
    node = make_node("failing_tasks")
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)

    async def fail():
        raise KeyError("coroutine")

    for handler in (fail, lambda: {}["function"]):
        task = executor.create_task(handler)
        with pytest.raises(KeyError):
            executor.spin_until_future_complete(task, timeout_sec=5.0)
        assert task.done() and isinstance(task.exception(), KeyError)
    executor.shutdown()
    with pytest.raises((RuntimeError, AttributeError)):
        executor.create_task(print)


def test_only_coroutine_functions_are_awaited(make_node, spin):
    node, awaited = make_node("awaiting"), []

    async def note(name: str) -> None:
        awaited.append(name)

    async def as_function() -> None:
        await note("function")

    node.create_timer(0.01, as_function)
    assert spin.until(lambda: "function" in awaited, node)
    node.create_timer(0.01, lambda: note("lambda"))
    with pytest.warns(RuntimeWarning, match="never awaited"):
        spin.until(lambda: False, node, timeout_s=0.2)
    assert set(awaited) == {"function"}


def test_futures_finish_more_than_once_and_keep_exceptions(capfd):
    future, seen = Future(), []
    future.add_done_callback(lambda done: seen.append(done.result()))
    for number in range(3):
        future.set_result(number)
    assert seen == [0] and future.result() == 2 and future.done()
    future.add_done_callback(lambda done: seen.append(done.result()))
    assert seen == [0, 2]
    failed = Future()
    failed.set_exception(KeyError("x"))
    assert isinstance(failed.exception(), KeyError)
    with pytest.raises(KeyError):
        failed.result()
    unseen = Future()
    unseen.set_exception(ValueError("nobody asks"))
    del unseen
    gc.collect()
    assert "The following exception was never retrieved: nobody asks" in capfd.readouterr().err


def test_cancelling_is_only_a_request(make_node, spin):
    future, called = Future(), []
    future.add_done_callback(lambda done: called.append(done.cancelled()))
    future.cancel()
    assert future.cancelled() and not future.done() and called == [True]
    future.set_result(5)
    assert future.done() and not future.cancelled() and future.result() == 5
    node = make_node("cancelling")
    executor = SingleThreadedExecutor(context=node.context)
    task = executor.create_task(lambda: "run all the same")
    task.cancel()
    executor.spin_until_future_complete(task, timeout_sec=5.0)
    assert task.result() == "run all the same"
    executor.shutdown()


def test_guard_conditions_run_in_the_executor(make_node, spin, wait_until):
    node, threads = make_node("guarded"), []
    guard = node.create_guard_condition(lambda: threads.append(threading.current_thread().name))
    spin.in_background(node)
    guard.trigger()
    assert wait_until(lambda: threads)
    assert threads[0] != threading.current_thread().name


def test_entities_made_and_destroyed_while_spinning(make_node, spin, wait_until):
    node = make_node("changing")
    spin.in_background(node)
    publisher = node.create_publisher(String, "changing", 10)
    for number in range(5):
        received = []
        subscription = node.create_subscription(String, "changing", received.append, 10)
        assert wait_until(lambda: publisher.get_subscription_count() == 1)
        publisher.publish(String(data=str(number)))
        assert wait_until(lambda: received)  # noqa: B023
        node.destroy_subscription(subscription)
        assert wait_until(lambda: publisher.get_subscription_count() == 0)


def publish_clock(publisher, seconds: float) -> None:
    whole = int(seconds)
    stamp = TimeMessage(sec=whole, nanosec=int((seconds - whole) * 1e9))
    publisher.publish(Clock(clock=stamp))


def test_simulated_time_drives_clock_and_timers(make_node, spin):
    clock_source = make_node("simulator")
    publisher = clock_source.create_publisher(Clock, "/clock", 10)
    override = [Parameter("use_sim_time", value=True)]
    node = make_node("simulated", parameter_overrides=override)
    calls = []
    node.create_timer(1.0, lambda: calls.append(node.get_clock().now().nanoseconds))
    assert node.get_clock().now() == Time(clock_type=ClockType.ROS_TIME)

    def at(seconds: float) -> bool:
        publish_clock(publisher, seconds)
        wanted = int(seconds * 1e9)
        return spin.until(lambda: node.get_clock().now().nanoseconds == wanted, node)

    assert at(10.0) and spin.until(lambda: calls, node)  # long overdue, from 0
    calls.clear()
    assert at(10.5) and not spin.until(lambda: calls, node, timeout_s=0.1)
    assert at(11.5) and spin.until(lambda: calls, node)
    assert calls == [11_500_000_000]
    # Three periods at once are one call; what was missed is not made up for.
    assert at(15.25) and not spin.until(lambda: len(calls) > 2, node, timeout_s=0.1)
    assert calls[1:] == [15_250_000_000]


def test_time_that_goes_back_is_announced_and_restarts_timers(make_node, spin):
    publisher = make_node("looper").create_publisher(Clock, "/clock", 10)
    node = make_node("looped", parameter_overrides=[Parameter("use_sim_time", value=True)])
    jumps, calls = [], []
    threshold = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-1))
    handle = node.get_clock().create_jump_callback(threshold, post_callback=jumps.append)
    node.create_timer(1.0, lambda: calls.append(node.get_clock().now().nanoseconds))
    for seconds in (100.0, 99.5, 5.0):
        publish_clock(publisher, seconds)
        wanted = int(seconds * 1e9)
        assert spin.until(lambda: node.get_clock().now().nanoseconds == wanted, node)  # noqa: B023
    assert [jump.delta.nanoseconds for jump in jumps] == [-94_500_000_000]
    assert jumps[0].clock_change == ClockChange.ROS_TIME_NO_CHANGE
    handle.unregister()
    calls.clear()
    publish_clock(publisher, 6.5)
    assert spin.until(lambda: calls, node)
    assert calls == [6_500_000_000]


def test_sim_time_can_be_switched_off_again(make_node, spin):
    node = make_node("switched", parameter_overrides=[Parameter("use_sim_time", value=True)])
    assert node.get_clock().ros_time_is_active
    node.set_parameters([Parameter("use_sim_time", value=False)])
    assert abs(node.get_clock().now().nanoseconds - time.time_ns()) < 60 * 10**9
    calls = []
    node.create_timer(0.01, lambda: calls.append(1))
    assert spin.until(lambda: len(calls) > 3, node)


def test_rate_and_sleep(make_node, spin):
    node = make_node("rated")
    spin.in_background(node)
    rate = node.create_rate(50.0)
    before = time.monotonic()
    for _ in range(5):
        rate.sleep()
    assert time.monotonic() - before > 0.06
    node.destroy_rate(rate)
    assert node.get_clock().sleep_for(Duration(seconds=0.01), context=node.context)


def test_log_messages_reach_rosout(make_node, spin, capfd):
    node, reader = make_node("speaker", namespace="/robot"), make_node("rosout_reader")
    heard = []
    rosout = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    reader.create_subscription(Log, "/rosout", heard.append, rosout)
    node.get_logger().debug("unheard")
    node.get_logger().get_child("part").warning("watch out")
    assert spin.until(lambda: heard, reader)
    assert [(log.name, log.level, log.msg) for log in heard] == [
        ("robot.speaker.part", Log.WARN, "watch out")
    ]
    assert heard[0].function == "test_log_messages_reach_rosout" and heard[0].line > 0
    assert heard[0].file.endswith("test_executors.py")
    error = capfd.readouterr().err
    assert "[WARN] [" in error and "[robot.speaker.part]: watch out" in error
    assert "unheard" not in error


def test_names_remaps_and_parameters_from_the_command_line(make_context):
    """A rule for one node means, but for its own renaming, the name that it has in the end."""
    arguments = "--ros-args -r __ns:=/robot -r chatter:=talk -r talker:hear:=/eyes"
    arguments += " -r talker:__node:=speaker -r speaker:listen:=/ears -r other:listen:=/no"
    arguments += " -p rate:=2.5 -p speaker:name:=joe"
    context = make_context(arguments.split())
    node = Node("talker", context=context, automatically_declare_parameters_from_overrides=True)
    assert node.get_fully_qualified_name() == "/robot/speaker"
    assert node.create_publisher(String, "chatter", 1).topic_name == "/robot/talk"
    assert node.create_subscription(String, "hear", print, 1).topic_name == "/robot/hear"
    assert node.create_subscription(String, "listen", print, 1).topic_name == "/ears"
    assert node.create_subscription(String, "~/in", print, 1).topic_name == "/robot/speaker/in"
    assert node.get_parameter("rate").value == 2.5
    assert not node.has_parameter("name")  # /speaker's, not /robot/speaker's
    node.destroy_node()
    node = Node("talker", context=make_context(["--ros-args", "-r", "a:__ns:=/x"]), namespace="n")
    assert node.get_namespace() == "/n"
    node.destroy_node()
