"""Managed nodes: their states from within, and through their services over DDS."""

from __future__ import annotations

import os
import threading
import time

import pytest

import embedded_ros

embedded_ros.install()

import rclpy  # noqa: E402
from lifecycle_msgs.msg import State as StateMessage  # noqa: E402
from lifecycle_msgs.msg import Transition as TransitionMessage  # noqa: E402
from lifecycle_msgs.msg import TransitionEvent  # noqa: E402
from lifecycle_msgs.srv import (  # noqa: E402
    ChangeState,
    GetAvailableStates,
    GetAvailableTransitions,
    GetState,
)
from rclpy._rclpy_pybind11 import RCLError  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.lifecycle import (  # noqa: E402
    LifecycleNode,
    SimpleManagedEntity,
    State,
    TransitionCallbackReturn,
)
from rclpy.node import Node  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from semantic_field.nodes.ros.spinning import Spinning  # noqa: E402

pytestmark = pytest.mark.ros

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE
ERROR = TransitionCallbackReturn.ERROR
TIMEOUT_S = 20.0


class Recorder(LifecycleNode):
    """Notes which callback was called from which state, and answers as told."""

    def __init__(self, context, name="managed"):
        super().__init__(name, context=context)
        self.calls: list[tuple[str, str]] = []
        self.answers: dict[str, object] = {}

    def _note(self, callback, state):
        assert isinstance(state, State)
        self.calls.append((callback, state.label))
        answer = self.answers.get(callback, SUCCESS)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def on_configure(self, state):
        return self._note("configure", state)

    def on_activate(self, state):
        super().on_activate(state)
        return self._note("activate", state)

    def on_deactivate(self, state):
        super().on_deactivate(state)
        return self._note("deactivate", state)

    def on_cleanup(self, state):
        return self._note("cleanup", state)

    def on_shutdown(self, state):
        return self._note("shutdown", state)

    def on_error(self, state):
        return self._note("error", state)


@pytest.fixture(scope="module")
def context():
    context = rclpy.Context()
    rclpy.init(args=[], context=context, domain_id=100 + os.getpid() % 100)
    yield context
    rclpy.shutdown(context=context)


@pytest.fixture
def node(context):
    node = Recorder(context)
    yield node
    node.destroy_node()


def served(node, name, request, response):
    """What a service of the node answers, asked for without the graph."""
    (service,) = (s for s in node.services if s.srv_name.endswith(f"/{name}"))
    return service.callback(request, response)


def state_of(node):
    return served(node, "get_state", None, GetState.Response()).current_state.label


# --- from within ----------------------------------------------------------------------------------


def test_a_whole_life(node):
    assert state_of(node) == "unconfigured"
    for trigger, state in (
        (node.trigger_configure, "inactive"),
        (node.trigger_activate, "active"),
        (node.trigger_deactivate, "inactive"),
        (node.trigger_cleanup, "unconfigured"),
        (node.trigger_configure, "inactive"),
        (node.trigger_shutdown, "finalized"),
    ):
        assert trigger() == SUCCESS and state_of(node) == state
    assert node.calls == [
        ("configure", "unconfigured"),
        ("activate", "inactive"),
        ("deactivate", "active"),
        ("cleanup", "inactive"),
        ("configure", "unconfigured"),
        ("shutdown", "inactive"),
    ]


def test_what_cannot_be_done_now_is_an_error_and_changes_nothing(node):
    with pytest.raises(RCLError):
        node.trigger_activate()
    assert state_of(node) == "unconfigured" and node.calls == []
    node.trigger_shutdown()
    for trigger in (node.trigger_configure, node.trigger_shutdown):
        with pytest.raises(RCLError):
            trigger()


def test_failure_goes_back(node):
    node.answers["configure"] = FAILURE
    assert node.trigger_configure() == FAILURE and state_of(node) == "unconfigured"
    node.answers.clear()
    node.trigger_configure()
    node.answers["activate"] = FAILURE
    assert node.trigger_activate() == FAILURE and state_of(node) == "inactive"


def test_errors_are_processed(node):
    node.answers["configure"] = ERROR
    assert node.trigger_configure() == ERROR
    assert state_of(node) == "unconfigured"
    assert node.calls == [("configure", "unconfigured"), ("error", "unconfigured")]


def test_an_exception_is_an_error_of_which_nothing_is_said(node, capfd):
    """So a node has to say it itself."""
    node.answers["configure"] = RuntimeError("no camera")
    assert node.trigger_configure() == ERROR and state_of(node) == "unconfigured"
    output = capfd.readouterr()
    assert "no camera" not in output.out + output.err


@pytest.mark.parametrize("answer", [None, True])
def test_an_answer_of_another_type_breaks_the_node(node, answer):
    node.answers["configure"] = answer
    with pytest.raises(AttributeError):
        node.trigger_configure()
    assert state_of(node) == "configuring"


def test_an_error_that_cannot_be_processed_is_the_end(node):
    node.answers = {"configure": ERROR, "error": FAILURE}
    assert node.trigger_configure() == ERROR
    assert state_of(node) == "finalized"
    assert node.calls == [("configure", "unconfigured"), ("error", "unconfigured")]


class Hasty(LifecycleNode):
    """Tries to be activated while it is configured."""

    def on_configure(self, state):
        with pytest.raises(RCLError):
            self.trigger_activate()
        return SUCCESS


def test_a_callback_cannot_start_another_transition(context):
    node = Hasty("hasty", context=context)
    assert node.trigger_configure() == SUCCESS and state_of(node) == "inactive"
    node.destroy_node()


def test_callbacks_are_those_of_the_class(node):
    """What is put into their place later is not called."""
    node.on_configure = lambda state: FAILURE
    assert node.trigger_configure() == SUCCESS


def test_managed_entities_answer_for_themselves(node):
    class Entity(SimpleManagedEntity):
        answer = FAILURE

        def on_activate(self, state):
            super().on_activate(state)
            return self.answer

    entity = Entity()
    node.add_managed_entity(entity)
    with pytest.raises(TypeError):
        node.add_managed_entity(object())
    assert LifecycleNode.on_activate(node, None) == FAILURE and entity.is_activated
    entity.answer = True
    with pytest.raises(TypeError):
        LifecycleNode.on_activate(node, None)


# --- over DDS -------------------------------------------------------------------------------------


class Spinner:
    """Nodes that spin in a thread, and calls of services from outside that thread."""

    def __init__(self, context, *nodes):
        self.node = nodes[0]
        self.executor = SingleThreadedExecutor(context=context)
        for node in nodes:
            self.executor.add_node(node)
        self.spinning = Spinning(self.executor)

    def call(self, kind, name, **request):
        client = self.node.create_client(kind, name)
        assert client.wait_for_service(timeout_sec=TIMEOUT_S), name
        done = threading.Event()
        future = client.call_async(kind.Request(**request))
        future.add_done_callback(lambda _: done.set())
        assert done.wait(TIMEOUT_S), f"no answer from {name}"
        self.node.destroy_client(client)
        return future.result()

    def close(self):
        self.spinning.stop()


@pytest.fixture
def outside(context, node):
    caller = Node("manager", context=context)
    spinner = Spinner(context, caller, node)
    yield spinner
    spinner.close()
    caller.destroy_node()


def change(outside, transition_id=0, label=""):
    transition = TransitionMessage(id=transition_id, label=label)
    return outside.call(ChangeState, "/managed/change_state", transition=transition).success


def current(outside):
    found = outside.call(GetState, "/managed/get_state").current_state
    return found.id, found.label


def test_states_are_changed_and_asked_from_outside(outside):
    assert current(outside) == (StateMessage.PRIMARY_STATE_UNCONFIGURED, "unconfigured")
    assert change(outside, TransitionMessage.TRANSITION_CONFIGURE)
    assert change(outside, label="activate")
    assert current(outside) == (StateMessage.PRIMARY_STATE_ACTIVE, "active")
    assert not change(outside, label="configure")  # not from here
    assert not change(outside, label="nonsense")
    assert current(outside) == (StateMessage.PRIMARY_STATE_ACTIVE, "active")
    assert change(outside, TransitionMessage.TRANSITION_ACTIVE_SHUTDOWN)
    assert current(outside) == (StateMessage.PRIMARY_STATE_FINALIZED, "finalized")


def test_a_number_that_does_not_lead_on_is_an_error_in_the_executor(node):
    """As in rclpy, where it ends a node that does not guard itself."""
    request = ChangeState.Request()
    for number in (TransitionMessage.TRANSITION_ACTIVATE, 77):
        request.transition.id = number
        with pytest.raises(RCLError):
            served(node, "change_state", request, ChangeState.Response())
    assert state_of(node) == "unconfigured"


def test_a_refused_transition_is_no_success(outside, node):
    node.answers["configure"] = FAILURE
    assert not change(outside, TransitionMessage.TRANSITION_CONFIGURE)
    assert current(outside)[1] == "unconfigured"


def test_the_graph_is_that_of_ros(outside):
    states = outside.call(GetAvailableStates, "/managed/get_available_states").available_states
    assert {s.id: s.label for s in states} == {
        0: "unknown",
        1: "unconfigured",
        2: "inactive",
        3: "active",
        4: "finalized",
        10: "configuring",
        11: "cleaningup",
        12: "shuttingdown",
        13: "activating",
        14: "deactivating",
        15: "errorprocessing",
    }
    service = "/managed/get_available_transitions"
    found = outside.call(GetAvailableTransitions, service).available_transitions
    assert [(t.transition.id, t.transition.label) for t in found] == [
        (1, "configure"),
        (5, "shutdown"),
    ]
    graph = outside.call(GetAvailableTransitions, "/managed/get_transition_graph")
    edges = {
        (t.transition.id, t.start_state.id, t.goal_state.id) for t in graph.available_transitions
    }
    assert len(edges) == 25
    # Spot checks from the design: activating fails back to inactive, its error is processed.
    assert {(3, 2, 13), (30, 13, 3), (31, 13, 2), (32, 13, 15), (60, 15, 1), (51, 12, 4)} <= edges


def test_transitions_are_announced(outside, node):
    events, enough = [], threading.Event()

    def on_event(event):
        events.append((event.start_state.label, event.goal_state.label))
        if len(events) == 4:
            enough.set()

    outside.node.create_subscription(TransitionEvent, "/managed/transition_event", on_event, 10)
    wait_for_subscriber(node, "/managed/transition_event")
    node.trigger_configure()
    node.trigger_activate()
    assert enough.wait(TIMEOUT_S)
    assert events == [
        ("unconfigured", "configuring"),
        ("configuring", "inactive"),
        ("inactive", "activating"),
        ("activating", "active"),
    ]


def wait_for_subscriber(node, topic):
    """Until every publisher of the topic has someone to send to."""
    end = time.monotonic() + TIMEOUT_S
    for publisher in [p for p in node.publishers if p.topic_name == topic]:
        while publisher.get_subscription_count() < 1:
            assert time.monotonic() < end, f"nobody subscribes to {topic}"
            time.sleep(0.01)


def test_a_lifecycle_publisher_is_silent_while_inactive(outside, node):
    received, last = [], threading.Event()

    def on_text(message):
        received.append(message.data)
        if message.data == "last":
            last.set()

    publisher = node.create_lifecycle_publisher(String, "text", 10)
    always = node.create_publisher(String, "text", 10)
    outside.node.create_subscription(String, "/text", on_text, 10)
    wait_for_subscriber(node, "/text")
    assert not publisher.is_activated
    publisher.publish(String(data="before"))
    node.trigger_configure()
    publisher.publish(String(data="configured"))
    node.trigger_activate()
    assert publisher.is_activated
    publisher.publish(String(data="active"))
    node.trigger_deactivate()
    publisher.publish(String(data="after"))
    time.sleep(0.05)  # two publishers: no order between them but that of time
    always.publish(String(data="last"))
    assert last.wait(TIMEOUT_S)
    assert received == ["active", "last"]
    assert node.destroy_lifecycle_publisher(publisher)
    node.trigger_activate()  # it is not managed any more


def test_without_communication_there_are_no_services(context):
    node = LifecycleNode("quiet", context=context, enable_communication_interface=False)
    assert not [s.srv_name for s in node.services if "state" in s.srv_name]
    assert node.trigger_configure() == SUCCESS
    node.destroy_node()
