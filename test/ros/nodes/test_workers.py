"""Threads of nodes that fail: the log, diagnostics, status and answers say so, the node goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest

import embedded_ros

embedded_ros.install()

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

from semantic_field.msg import FieldSnapshot, FieldStatus  # noqa: E402
from semantic_field.nodes import mapping_node, query_node  # noqa: E402
from semantic_field.nodes.map import map_publisher  # noqa: E402
from semantic_field.nodes.mapping_node import MappingNode  # noqa: E402
from semantic_field.nodes.query_node import QueryNode  # noqa: E402
from semantic_field.nodes.replay.playback import FramePlayback  # noqa: E402
from semantic_field.nodes.replay_node import ReplayNode  # noqa: E402
from semantic_field.nodes.ros.qos import LATCHED  # noqa: E402
from semantic_field.nodes.scorer_node import ScorerNode  # noqa: E402
from semantic_field.srv import Query, QueryTexts, Segment  # noqa: E402

pytestmark = [
    pytest.mark.ros,
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]


@pytest.fixture
def status(listen):
    """The newest status, as a function."""
    inbox = listen(FieldStatus, "status")
    return lambda: inbox.last or FieldStatus()


@pytest.fixture
def diagnosed(listen):
    """Whether the newest diagnosis of a node has that level, and a message with that text."""
    inbox = listen(DiagnosticArray, "/diagnostics", QoSProfile(depth=50))

    def made(node: str, level: bytes, text: str) -> bool:
        entries = [entry for message in list(inbox.messages) for entry in message.status]
        own = [entry for entry in entries if entry.name.startswith(f"{node}: ")]
        return bool(own) and own[-1].level == level and text in own[-1].message

    return made


class Broken:
    """In the place of a function: fails as often as told, then does what the function does."""

    def __init__(self, function, times: int) -> None:
        self.function, self.times = function, times

    def __call__(self, *arguments):
        self.times -= 1
        if self.times >= 0:
            raise TypeError("a bug of ours")
        return self.function(*arguments)


@pytest.fixture
def break_down(monkeypatch):
    """Let a function of a module fail, once or as often as told."""

    def put(module, name: str, times: int = 1) -> None:
        broken = Broken(getattr(module, name), times)
        monkeypatch.setattr(module, name, lambda *arguments: broken(*arguments))

    return put


@pytest.fixture
def mapping(start_node, quick):
    return lambda: start_node(MappingNode, **(quick | {"teacher.kind": "none"}))


def told(log, thread: str) -> bool:
    """Whether the log has the traceback of that thread's failure."""
    return bool(log(f"{thread} stopped:\nTraceback") and log("TypeError: a bug of ours"))


def test_a_map_that_is_not_published_any_more(
    mapping, break_down, status, diagnosed, log, camera, room, call, listen, wait_until
):
    break_down(map_publisher, "dump_map")
    node = mapping()
    camera.wait(wait_until)
    camera.send(replace(room[1][0], labels=None))
    assert wait_until(lambda: told(log, "map publisher"))
    why = "map publisher stopped: TypeError: a bug of ours"
    assert wait_until(lambda: diagnosed("mapping_node", DiagnosticStatus.ERROR, why))
    assert wait_until(lambda: (status().state, status().error) == ("failed", why)), status()
    steps = status().steps
    assert wait_until(lambda: status().steps > steps + 5)  # training goes on

    snapshots = listen(FieldSnapshot, "snapshot")
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
        request = Transition(id=transition)
        assert call(ChangeState, "mapping_node/change_state", transition=request).success
    assert wait_until(lambda: (status().state, status().error) == ("mapping", "")), status()
    assert wait_until(lambda: snapshots.last) and node.failures == {}
    assert wait_until(lambda: not diagnosed("mapping_node", DiagnosticStatus.ERROR, ""))


def test_kernels_that_cannot_be_compiled(
    mapping, break_down, status, diagnosed, log, camera, wait_until
):
    break_down(mapping_node, "warm_up")
    mapping()
    why = "warm-up stopped: TypeError: a bug of ours"
    assert wait_until(lambda: (status().state, status().error) == ("failed", why)), status()
    assert wait_until(lambda: diagnosed("mapping_node", DiagnosticStatus.ERROR, why))
    assert wait_until(lambda: told(log, "warm-up"))
    camera.wait(wait_until)  # it listens all the same


def test_training_that_stops(mapping, status, diagnosed, camera, room, wait_until, break_down):
    node = mapping()
    break_down(node.mapper.live_map.trainer, "step")
    camera.wait(wait_until)
    camera.send(replace(room[1][0], labels=None))
    why = "training stopped: TypeError: a bug of ours"
    assert wait_until(lambda: (status().state, status().error) == ("failed", why)), status()
    assert wait_until(lambda: diagnosed("mapping_node", DiagnosticStatus.ERROR, why))


def test_snapshots_that_are_not_taken_in_any_more(
    start_node, break_down, diagnosed, log, call, make_node, wait_until
):
    break_down(query_node, "load_map")
    start_node(QueryNode)
    assert wait_until(lambda: diagnosed("query_node", DiagnosticStatus.OK, "running"))
    publisher = make_node("mapping").create_publisher(FieldSnapshot, "snapshot", LATCHED)
    publisher.publish(FieldSnapshot())
    assert wait_until(lambda: told(log, "snapshots"))
    why = "snapshots stopped: TypeError: a bug of ours"
    assert wait_until(lambda: diagnosed("query_node", DiagnosticStatus.ERROR, why))
    for kind, name, fields in (
        (Query, "query", {"text": "sofa"}),
        (QueryTexts, "query_texts", {"texts": ["sofa"]}),
        (Segment, "segment", {"names": ["sofa"]}),
    ):
        answer = call(kind, name, **fields)
        assert not answer.success and "'snapshots'" in answer.message, name
        assert "TypeError: a bug of ours" in answer.message


def test_a_replay_that_stops(start_node, break_down, diagnosed, log, call, wait_until):
    break_down(FramePlayback, "publish")
    room = "room:frames=2,width=32,height=24"
    start_node(ReplayNode, input=room, wait_for_subscriber_s=0.0)
    assert wait_until(lambda: told(log, "replay"))
    why = "replay stopped: TypeError: a bug of ours"
    assert wait_until(lambda: diagnosed("replay_node", DiagnosticStatus.ERROR, why))
    for answer in (call(Trigger, "replay_node/step"), call(SetBool, "replay_node/pause")):
        assert not answer.success and "TypeError: a bug of ours" in answer.message


def test_a_score_that_is_not_made(start_node, break_down, diagnosed, log, tmp_path, wait_until):
    break_down(ScorerNode, "_is_over")
    node = start_node(ScorerNode, out=str(tmp_path))
    assert wait_until(lambda: told(log, "scorer"))
    why = "scorer stopped: TypeError: a bug of ours"
    assert wait_until(lambda: diagnosed("scorer_node", DiagnosticStatus.ERROR, why))
    assert node.exit_code == 1 and not list(tmp_path.iterdir())


def test_there_is_no_score_of_a_map_that_has_failed(
    start_node, make_node, diagnosed, log, tmp_path, wait_until
):
    publisher = make_node("mapping_node").create_publisher(FieldStatus, "status", LATCHED)
    publisher.publish(FieldStatus(state="failed", error="training stopped: a bug of ours"))
    node = start_node(ScorerNode, out=str(tmp_path))
    why = "no report: the mapping node has failed: training stopped: a bug of ours"
    assert wait_until(lambda: log(why) and node.exit_code == 1)
    assert wait_until(lambda: diagnosed("scorer_node", DiagnosticStatus.ERROR, why))


REPLAY = """
import embedded_ros
embedded_ros.install()
from semantic_field.nodes.replay.playback import FramePlayback
from semantic_field.nodes.replay_node import main

def publish(self, event):
    raise TypeError("a bug of ours")

FramePlayback.publish = publish
raise SystemExit(main(["--ros-args", "-p", "input:=room:frames=2,width=32,height=24",
                       "-p", "wait_for_subscriber_s:=0.0"]))
"""


def test_the_process_of_a_replay_that_stops_ends(start_python):
    """For those who wait for it: a launch file, the demo."""
    process = start_python(REPLAY)
    output, _ = process.communicate()
    assert process.returncode == 1, output
    assert "replay stopped:\nTraceback" in output and "TypeError: a bug of ours" in output
