"""Services and clients over real DDS: concurrency, refusals, servers that come and go."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import embedded_ros

embedded_ros.install()

from example_interfaces.srv import AddTwoInts  # noqa: E402
from rclpy._rclpy_pybind11 import InvalidHandle  # noqa: E402
from rclpy.callback_groups import ReentrantCallbackGroup  # noqa: E402
from rclpy.executors import MultiThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

pytestmark = pytest.mark.ros


def add(request, response):
    response.sum = request.a + request.b
    return response


def test_async_call_is_answered(make_node, spin):
    node = make_node("both")
    node.create_service(AddTwoInts, "add", add)
    client = node.create_client(AddTwoInts, "add")
    assert client.wait_for_service(10.0)
    future = client.call_async(AddTwoInts.Request(a=2, b=40))
    called_back = []
    future.add_done_callback(lambda done: called_back.append(done.result().sum))
    assert spin.until(lambda: called_back, node)
    assert future.result() == AddTwoInts.Response(sum=42) and called_back == [42]


def test_every_client_gets_its_own_answers(make_node, spin):
    node = make_node("many")
    node.create_service(AddTwoInts, "add", add, callback_group=ReentrantCallbackGroup())
    clients = [node.create_client(AddTwoInts, "add") for _ in range(6)]
    spin.in_background(node, executor=MultiThreadedExecutor(4, context=node.context))
    assert all(client.wait_for_service(10.0) for client in clients)
    for number in range(5):
        for place, client in enumerate(clients):
            request = AddTwoInts.Request(a=place * 1000, b=number)
            assert client.call(request, timeout_sec=20.0).sum == place * 1000 + number


@pytest.mark.embedded_only("rmw_cyclonedds loses what is more than its depth of 10")
def test_every_client_gets_its_own_answers_under_load(make_context, spin):
    """Six clients in three participants, twelve threads, one server."""
    server = Node("server", context=make_context())
    server.create_service(AddTwoInts, "add", add, callback_group=ReentrantCallbackGroup())
    spin.in_background(server, executor=MultiThreadedExecutor(4, context=server.context))
    callers, clients = [], []
    for number in range(3):
        caller = Node(f"caller_{number}", context=make_context())
        clients += [caller.create_client(AddTwoInts, "add") for _ in range(2)]
        spin.in_background(caller)
        callers.append(caller)
    assert all(client.wait_for_service(10.0) for client in clients)

    def call_many(worker: int) -> list[tuple[int, int]]:
        client = clients[worker % len(clients)]
        answers = []
        for number in range(20):
            response = client.call(AddTwoInts.Request(a=worker * 1000, b=number), timeout_sec=20.0)
            answers.append((worker * 1000 + number, response.sum))
        return answers

    with ThreadPoolExecutor(12) as pool:
        answers = [pair for pairs in pool.map(call_many, range(12)) for pair in pairs]
    assert len(answers) == 240 and all(expected == got for expected, got in answers)
    spin.stop()
    for node in (server, *callers):
        node.destroy_node()


def test_a_sync_call_from_a_callback_of_another_group(make_node, spin):
    node = make_node("nested")
    node.create_service(AddTwoInts, "inner", add, callback_group=ReentrantCallbackGroup())
    client = node.create_client(AddTwoInts, "inner", callback_group=ReentrantCallbackGroup())

    def outer(request, response):
        response.success = client.call(AddTwoInts.Request(a=1, b=2), timeout_sec=10.0).sum == 3
        return response

    node.create_service(Trigger, "outer", outer)
    caller = node.create_client(Trigger, "outer", callback_group=ReentrantCallbackGroup())
    spin.in_background(node, executor=MultiThreadedExecutor(4, context=node.context))
    assert caller.wait_for_service(10.0)
    assert caller.call(Trigger.Request(), timeout_sec=20.0).success


def test_coroutine_services_may_await_other_services(make_node, spin):
    node = make_node("awaiting")
    node.create_service(AddTwoInts, "inner_awaited", add)
    client = node.create_client(
        AddTwoInts, "inner_awaited", callback_group=ReentrantCallbackGroup()
    )

    async def outer(request, response):
        answer = await client.call_async(AddTwoInts.Request(a=20, b=22))
        response.message = str(answer.sum)
        return response

    node.create_service(Trigger, "outer_awaiting", outer, callback_group=ReentrantCallbackGroup())
    caller = node.create_client(Trigger, "outer_awaiting", callback_group=ReentrantCallbackGroup())
    assert caller.wait_for_service(10.0)
    future = caller.call_async(Trigger.Request())
    assert spin.until(future.done, node)
    assert future.result().message == "42"


def test_timeouts_and_absent_servers(make_node, spin):
    node = make_node("alone")
    client = node.create_client(Trigger, "nobody")
    assert not client.wait_for_service(0.1)
    spin.in_background(node)
    assert client.call(Trigger.Request(), timeout_sec=0.1) is None


def test_an_answer_that_comes_too_late_finds_nobody(make_node, spin, wait_until):
    """A request that was given up calls nothing any more; those after it are answered."""
    node = make_node("late")
    answered, called_back = [], []

    def answer(request, response):
        time.sleep(0.2)
        answered.append(1)
        return response

    server, client_group = ReentrantCallbackGroup(), ReentrantCallbackGroup()
    node.create_service(Trigger, "slow", answer, callback_group=server)
    client = node.create_client(Trigger, "slow", callback_group=client_group)
    spin.in_background(node, executor=MultiThreadedExecutor(4, context=node.context))
    assert client.wait_for_service(10.0)
    future = client.call_async(Trigger.Request())
    future.add_done_callback(called_back.append)
    client.remove_pending_request(future)
    assert client.call(Trigger.Request(), timeout_sec=0.01) is None
    assert client.call(Trigger.Request(), timeout_sec=20.0) is not None
    assert wait_until(lambda: len(answered) == 3)
    assert not future.done() and called_back == []


def test_destroying_a_client_leaves_what_is_pending(make_node):
    node = make_node("quitter")
    client = node.create_client(Trigger, "nobody_at_all")
    future = client.call_async(Trigger.Request())
    node.destroy_client(client)
    assert not future.done() and not future.cancelled()
    with pytest.raises(InvalidHandle):
        client.call_async(Trigger.Request())


def test_wrong_requests_and_responses_are_refused(make_node, spin):
    node = make_node("strict_server")
    client = node.create_client(Trigger, "wrong")
    with pytest.raises(TypeError):
        client.call_async(SetBool.Request())
    with pytest.raises(TypeError):
        client.call(SetBool.Request())
    node.create_service(Trigger, "wrong", lambda request, response: None)
    assert client.wait_for_service(10.0)
    client.call_async(Trigger.Request())
    with pytest.raises(TypeError):
        spin.until(lambda: False, node, timeout_s=5.0)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_a_coroutine_that_a_plain_function_returns_is_no_response(make_node, spin):
    """Only coroutine functions are awaited."""
    node = make_node("not_awaited")

    async def later(request, response):
        return response

    node.create_service(Trigger, "plain", lambda request, response: later(request, response))
    client = node.create_client(Trigger, "plain")
    assert client.wait_for_service(10.0)
    client.call_async(Trigger.Request())
    with pytest.raises(TypeError):
        spin.until(lambda: False, node, timeout_s=5.0)


SERVER = """
import sys
import embedded_ros; embedded_ros.install()
import rclpy
from std_srvs.srv import Trigger
rclpy.init()
node = rclpy.create_node("server")
def answer(request, response):
    response.message = sys.argv[1]
    return response
node.create_service(Trigger, "who", answer)
rclpy.spin(node)
"""


def test_a_server_that_is_killed_and_started_again(make_node, spin, start_python, wait_until):
    node = make_node("caller")
    client = node.create_client(Trigger, "who")
    spin.in_background(node)
    first = start_python(SERVER, "first")
    assert client.wait_for_service(20.0)
    assert client.call(Trigger.Request(), timeout_sec=20.0).message == "first"
    first.kill()
    start_python(SERVER, "second")
    answers = []

    def asked() -> bool:
        response = client.call(Trigger.Request(), timeout_sec=1.0)
        answers.append(response.message if response else None)
        return answers[-1] == "second"

    assert wait_until(asked), answers


def test_the_first_request_of_a_new_process_is_answered(start_python, make_node, spin):
    """It may be heard before the answer can be: the server waits for the other direction."""
    node = make_node("patient")
    node.create_service(Trigger, "first_request", lambda request, response: response)
    spin.in_background(node)
    code = """
import embedded_ros; embedded_ros.install()
import rclpy
from std_srvs.srv import Trigger
rclpy.init()
node = rclpy.create_node("hasty")
client = node.create_client(Trigger, "first_request")
while node.count_services("first_request") == 0:
    pass
future = client.call_async(Trigger.Request())
rclpy.spin_until_future_complete(node, future, timeout_sec=10.0)
print(future.done())
"""
    for _ in range(3):
        output, _ = start_python(code).communicate(timeout=60)
        assert output == "True\n"
