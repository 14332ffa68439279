"""Spinning in a thread ends in order, whatever is under way just then."""

from __future__ import annotations

import gc
import threading
import time

import pytest

import embedded_ros

embedded_ros.install()

import rclpy  # noqa: E402
from rclpy.callback_groups import ReentrantCallbackGroup  # noqa: E402
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from semantic_field.nodes.ros.client import connected  # noqa: E402
from semantic_field.nodes.ros.spinning import Spinning  # noqa: E402

pytestmark = pytest.mark.ros


@pytest.fixture
def faults(monkeypatch, capfd):
    """What threads raised, and what futures were left with that nobody looked at."""
    raised = []
    monkeypatch.setattr(threading, "excepthook", lambda fault: raised.append(fault.exc_value))

    def found() -> list:
        gc.collect()
        output = capfd.readouterr()
        lines = (output.out + output.err).splitlines()
        return raised + [line for line in lines if "never retrieved" in line]

    return found


def slow_answers(node: Node, delay_s: float) -> None:
    def answer(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        time.sleep(delay_s)
        return response

    node.create_service(Trigger, "slow", answer, callback_group=ReentrantCallbackGroup())


@pytest.mark.parametrize("kind", [SingleThreadedExecutor, MultiThreadedExecutor])
def test_stopping_amid_callbacks(context, faults, kind):
    """Timers that are always due: the end comes in the middle of one, or just before."""
    for number in range(20):
        node, calls = Node(f"busy_{number}", context=context), []
        for _ in range(3):
            group = ReentrantCallbackGroup()
            node.create_timer(0.0005, lambda calls=calls: calls.append(1), callback_group=group)
        executor = kind(context=context)
        executor.add_node(node)
        spinning = Spinning(executor)
        while len(calls) < 5:
            time.sleep(0.001)
        spinning.stop()
        count = len(calls)
        time.sleep(0.005)
        assert len(calls) == count  # the last callback has ended
        spinning.stop()
        node.destroy_node()
    assert faults() == []


def test_a_command_ends_in_order_after_a_time_out(make_context, faults, domain_id, monkeypatch):
    """The answer comes while the command that gave it up is taken apart."""
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain_id))
    context = make_context()
    server = Node("server", context=context)
    slow_answers(server, 0.05)
    executor = MultiThreadedExecutor(4, context=context)
    executor.add_node(server)
    spinning, given_up = Spinning(executor), 0
    for number in range(20):
        with connected("hasty") as client:
            assert client.call(Trigger, "slow", Trigger.Request(), 30.0) is not None
            try:
                client.call(Trigger, "slow", Trigger.Request(), 0.04 + 0.0005 * number)
            except TimeoutError as error:
                assert "no answer from slow" in str(error)
                given_up += 1
    spinning.stop()
    server.destroy_node()
    assert given_up > 0 and faults() == []


def test_the_end_of_the_context_ends_spinning(make_context, faults):
    for kind in (SingleThreadedExecutor, MultiThreadedExecutor):
        context, ended = make_context(), threading.Event()
        node = Node("outlived", context=context)
        executor = kind(context=context)
        executor.add_node(node)
        spinning = Spinning(executor, at_end=ended.set)
        time.sleep(0.05)
        rclpy.shutdown(context=context)
        assert ended.wait(10.0)
        spinning.stop()
        node.destroy_node()
    assert faults() == []
