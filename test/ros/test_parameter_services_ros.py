"""The parameter services and events of real nodes, between two participants."""

from __future__ import annotations

import os
import threading
import time

import pytest

import embedded_ros

embedded_ros.install()

import rclpy  # noqa: E402
from rcl_interfaces.msg import (  # noqa: E402
    IntegerRange,
    ParameterDescriptor,
    ParameterEvent,
    SetParametersResult,
)
from rcl_interfaces.srv import (  # noqa: E402
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter, parameter_value_to_python  # noqa: E402

from semantic_field.nodes.ros.spinning import Spinning  # noqa: E402

pytestmark = pytest.mark.ros

OK = SetParametersResult(successful=True)
TIMEOUT_S = 20.0


def running_context():
    """A participant of its own on this process's domain."""
    context = rclpy.Context()
    rclpy.init(args=[], context=context, domain_id=100 + os.getpid() % 100)
    yield context
    rclpy.shutdown(context=context)


context = pytest.fixture(running_context, scope="module", name="context")
other_context = pytest.fixture(running_context, scope="module", name="other_context")


@pytest.fixture
def make_node(context):
    nodes = []

    def make(name="server", **options):
        nodes.append(Node(name, context=context, **options))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()


@pytest.fixture
def node(make_node):
    return make_node()


def values(node, *names):
    return [node.get_parameter(name).value for name in names]


class Caller:
    """A node of another participant that calls the server's services."""

    def __init__(self, server, caller):
        self.server, self.node = server, caller
        self.running = []
        for node in (server, caller):
            executor = SingleThreadedExecutor(context=node.context)
            executor.add_node(node)
            self.running.append(Spinning(executor))

    def __call__(self, kind, name, **request):
        client = self.node.create_client(kind, f"/server/{name}")
        assert client.wait_for_service(timeout_sec=TIMEOUT_S), name
        done = threading.Event()
        future = client.call_async(kind.Request(**request))
        future.add_done_callback(lambda _: done.set())
        assert done.wait(TIMEOUT_S), f"no answer from {name}"
        self.node.destroy_client(client)
        return future.result()

    def close(self):
        for spinning in self.running:
            spinning.stop()


@pytest.fixture
def call(node, other_context):
    caller_node = Node("caller", context=other_context)
    caller = Caller(node, caller_node)
    yield caller
    caller.close()
    caller_node.destroy_node()


def test_the_six_services(node, call):
    limits = IntegerRange(from_value=0, to_value=10, step=1)
    described = ParameterDescriptor(description="levels of the grid", integer_range=[limits])
    node.declare_parameter("field.levels", 8, described)
    node.declare_parameter("names", ["a", "ü"])
    node.declare_parameter("bytes", [b"\x00", b"\xff"])
    node.declare_parameter("unset", Parameter.Type.DOUBLE)
    node.declare_parameter("secret", 1, ParameterDescriptor(read_only=True))

    listed = call(ListParameters, "list_parameters").result
    known = {"use_sim_time", "field.levels", "names", "bytes", "unset", "secret"}
    assert known <= set(listed.names) and listed.prefixes == ["field"]
    names = ["field.levels", "names", "bytes"]
    got = call(GetParameters, "get_parameters", names=names).values
    found = [parameter_value_to_python(value) for value in got]
    assert found == [8, ["a", "ü"], [b"\x00", b"\xff"]]
    # one without a value leaves the answer empty, as an unknown one does
    assert call(GetParameters, "get_parameters", names=[*names, "unset"]).values == []
    names.append("unset")
    types = call(GetParameterTypes, "get_parameter_types", names=names).types
    assert list(types) == [2, 9, 5, 0]
    found = call(DescribeParameters, "describe_parameters", names=["field.levels"]).descriptors[0]
    assert (found.name, found.type, found.description) == ("field.levels", 2, "levels of the grid")
    assert found.integer_range[0].to_value == 10

    wanted = [Parameter("field.levels", value=v).to_parameter_msg() for v in (4, 40)]
    wanted += [Parameter(n, value=2).to_parameter_msg() for n in ("secret", "missing", "names")]
    results = call(SetParameters, "set_parameters", parameters=wanted).results
    assert [r.successful for r in results] == [True, False, False, False, False]
    assert "out of range" in results[1].reason and "read-only" in results[2].reason
    assert "undeclared" in results[3].reason and "Wrong parameter type" in results[4].reason
    assert node.get_parameter("field.levels").value == 4

    both = [Parameter("field.levels", value=5), Parameter("names", value=["b"])]
    messages = [p.to_parameter_msg() for p in both]
    result = call(SetParametersAtomically, "set_parameters_atomically", parameters=messages).result
    assert result.successful and values(node, "field.levels", "names") == [5, ["b"]]
    messages = [*messages, Parameter("missing", value=1).to_parameter_msg()]
    result = call(SetParametersAtomically, "set_parameters_atomically", parameters=messages).result
    assert not result.successful and "undeclared" in result.reason


def test_unknown_names_leave_the_answers_empty(call):
    assert call(GetParameters, "get_parameters", names=["missing"]).values == []
    assert list(call(GetParameterTypes, "get_parameter_types", names=["missing"]).types) == []
    assert call(DescribeParameters, "describe_parameters", names=["missing"]).descriptors == []


def test_a_broken_request_is_an_error_in_the_executor(node):
    """As in rclpy, where it ends a node that does not guard itself."""
    message = Parameter("n", value=1).to_parameter_msg()
    message.value.type = 77
    (service,) = (s for s in node.services if s.srv_name.endswith("/set_parameters"))
    request = SetParameters.Request(parameters=[message])
    with pytest.raises(ValueError, match="77"):
        service.callback(request, SetParameters.Response())


def test_simulated_time_is_switched_from_outside(node, call):
    for value in (True, False):
        wanted = [Parameter("use_sim_time", value=value).to_parameter_msg()]
        assert call(SetParameters, "set_parameters", parameters=wanted).results[0].successful
        assert node.get_clock().ros_time_is_active is value


def test_changes_are_announced(node, call):
    events, enough = [], threading.Event()

    def on_event(event):
        if event.node == "/server":
            events.append(event)
            if len(events) == 3:
                enough.set()

    call.node.create_subscription(ParameterEvent, "/parameter_events", on_event, 10)
    end = time.monotonic() + TIMEOUT_S
    (publisher,) = (p for p in node.publishers if p.topic_name == "/parameter_events")
    while publisher.get_subscription_count() < 1 and time.monotonic() < end:
        time.sleep(0.01)
    free = ParameterDescriptor(dynamic_typing=True)
    node.declare_parameter("a", 1, free)
    node.set_parameters([Parameter("a", value=2)])
    node.set_parameters([Parameter("a")])
    assert enough.wait(TIMEOUT_S)
    kinds = [
        [
            [p.name for p in getattr(e, f"{kind}_parameters")]
            for kind in ("new", "changed", "deleted")
        ]
        for e in events
    ]
    assert kinds == [[["a"], [], []], [[], ["a"], []], [[], [], ["a"]]]
    assert events[1].changed_parameters[0].value.integer_value == 2
    assert not node.has_parameter("a")
