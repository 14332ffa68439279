"""How a node's process ends: told to, by a fault, or in the middle of a teacher's keyframe."""

from __future__ import annotations

import signal

import pytest

import embedded_ros

embedded_ros.install()

from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402

pytestmark = pytest.mark.ros

PROGRAM = """
import embedded_ros
embedded_ros.install()
import os, signal
import numpy as np, torch
from rclpy.node import Node
from semantic_field.nodes.ros.run import run_node
from semantic_field.mapping.language import teacher_worker as worker
from semantic_field.teachers.image_teachers import TeacherInput

worker.STOP_WAIT_S = 0.01
net = torch.nn.Sequential(*[torch.nn.Conv2d(8, 8, 3, padding=1) for _ in range(8)])
image = torch.zeros(1, 8, 64, 64)

def look(_):
    for i in range(10**9):
        net(image)
        if i == 3:
            os.kill(os.getpid(), signal.SIGTERM)

class Taught(Node):
    def __init__(self):
        super().__init__("taught")
        shown = TeacherInput(1, 0, np.zeros((2, 2, 3), np.uint8))
        self.teachers = worker.TeacherWorker(look, lambda _: shown, print, len)
        self.teachers.start()

    def destroy_node(self):
        self.teachers.stop()
        super().destroy_node()
        print("destroyed")

raise SystemExit(run_node(Taught))
"""


def test_a_busy_teacher_does_not_abort_the_process(start_python):
    process = start_python(PROGRAM)
    output = process.stdout.read()
    assert process.wait() == 0, output
    assert output.splitlines()[-1] == "destroyed"


FAULTY = """
import sys
import embedded_ros
embedded_ros.install()
import threading
from rclpy.node import Node
from semantic_field.nodes.ros.guarding import GuardedNode
from semantic_field.nodes.ros.run import run_node
from semantic_field.nodes.ros.workers import Worker

KIND = {"TypeError": TypeError, "ValueError": ValueError, "OSError": OSError}[sys.argv[1]]

class Faulty(GuardedNode, Node):
    def __init__(self):
        super().__init__("faulty")
        if sys.argv[2] == "start":
            self.fail()
        if sys.argv[2] == "thread":
            threading.Thread(target=self.fail).start()
        if sys.argv[2] == "worker":
            Worker(self, "worker", self.fail).start()
        self.ticks = 0
        self.create_timer(0.01, self.tick)

    def tick(self):
        self.ticks += 1
        if sys.argv[2] == "callback" and self.ticks < 4:
            self.fail()
        if self.ticks == 8:
            print("goes on")
            import os, signal
            os.kill(os.getpid(), signal.SIGTERM)

    def fail(self):
        raise KIND("what went wrong")

    def destroy_node(self):
        super().destroy_node()
        print("destroyed")

raise SystemExit(run_node(Faulty))
"""


def run_faulty(start_python, *arguments: str) -> tuple[int, str]:
    process = start_python(FAULTY, *arguments)
    output = process.stdout.read()
    return process.wait(), output


@pytest.mark.parametrize("where", ["callback", "thread"])
def test_a_fault_ends_the_node_with_its_traceback(start_python, where):
    code, output = run_faulty(start_python, "TypeError", where)
    assert code == 1 and "Traceback" in output and ", in fail" in output, output
    assert "TypeError: what went wrong" in output and "destroyed" in output


def test_a_worker_that_fails_is_told_in_the_exit_code(start_python):
    """The node goes on until it is told to stop."""
    code, output = run_faulty(start_python, "ValueError", "worker")
    assert code == 1 and "goes on" in output and "destroyed" in output, output
    assert "worker stopped:\nTraceback" in output and "ValueError: what went wrong" in output


@pytest.mark.parametrize("kind", ["ValueError", "OSError"])
def test_what_a_callback_refuses_does_not(start_python, kind):
    code, output = run_faulty(start_python, kind, "callback")
    assert code == 0 and "goes on" in output and "destroyed" in output, output
    assert output.count("refused (1 so far): what went wrong") == 1 and "Traceback" not in output


def test_what_is_wrong_at_the_start_is_one_line(start_python):
    code, output = run_faulty(start_python, "OSError", "start")
    assert (code, output) == (1, "error: what went wrong\n")


MAIN = """
import importlib, sys
import embedded_ros
embedded_ros.install()
main = importlib.import_module(f"semantic_field.nodes.{sys.argv[1]}").main
raise SystemExit(main(sys.argv[2:]))
"""


def run_node_of(start_python, name: str, **parameters):
    words = [word for key, value in parameters.items() for word in ("-p", f"{key}:={value}")]
    return start_python(MAIN, name, "--ros-args", *words)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_node_that_could_not_configure_ends_in_order(start_python, call, tmp_path, number):
    own = {"autostart": "false", "load_map_at_start": "true", "map_path": tmp_path / "none"}
    process = run_node_of(start_python, "mapping_node", **own)
    configure = Transition(id=Transition.TRANSITION_CONFIGURE)
    assert not call(ChangeState, "mapping_node/change_state", transition=configure).success
    process.send_signal(number)
    output, _ = process.communicate()
    assert process.returncode == 0 and "could not configure" in output, output
    assert "Traceback" not in output and "AttributeError" not in output


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [
        ("mapping_node", "map_path", "nowhere/map"),
        ("query_node", "teacher.kind", "none"),
        ("replay_node", "input", "nowhere"),
        ("scorer_node", "protocol", "nowhere"),
    ],
)
def test_a_node_that_cannot_be_made_ends_in_order(start_python, name, parameter, value):
    parameters = {parameter: value} | ({"load_map_at_start": "true"} if "map" in name else {})
    process = run_node_of(start_python, name, **parameters)
    output, _ = process.communicate()
    assert process.returncode == 1 and "error: " in output, output
    assert "Traceback" not in output and "AttributeError" not in output, output
