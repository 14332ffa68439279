"""What the tests over real DDS share: a domain of their own, contexts, nodes, spinning."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import embedded_ros

embedded_ros.install()

import rclpy  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402

from semantic_field.nodes.ros.spinning import Spinning  # noqa: E402

DOMAIN_ID = 100 + os.getpid() % 100
PATIENCE_S = 60.0  # for what must come: a machine may be busy
SOURCES = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture
def domain_id() -> int:
    return DOMAIN_ID


@pytest.fixture
def make_context(request):
    """Contexts (each a participant of its own), shut down after the test."""
    made = []

    def make(args: list[str] | None = None):
        context = rclpy.Context()
        rclpy.init(args=args or [], context=context, domain_id=DOMAIN_ID)
        made.append(context)
        return context

    yield make
    for context in made:
        context.try_shutdown()


@pytest.fixture
def context(make_context):
    return make_context()


@pytest.fixture
def make_node(context):
    """Nodes, destroyed after the test."""
    made = []

    def make(name: str, **kwargs) -> Node:
        node = Node(name, **{"context": context, "start_parameter_services": False, **kwargs})
        made.append(node)
        return node

    yield make
    for node in made:
        node.destroy_node()


class Spinner:
    """Spins nodes in the test's own thread, or in a thread of its own."""

    def __init__(self, make_executor=SingleThreadedExecutor) -> None:
        self.make_executor = make_executor
        self.running: list = []

    def until(self, condition, *nodes: Node, timeout_s: float = PATIENCE_S) -> bool:
        """Spin until ``condition()``; whether it came true within ``timeout_s``."""
        executor = self.make_executor(context=nodes[0].context)
        for node in nodes:
            executor.add_node(node)
        end = time.monotonic() + timeout_s
        while not (met := condition()) and time.monotonic() < end:
            executor.spin_once(timeout_sec=0.02)
        executor.shutdown()
        return met

    def in_background(self, *nodes: Node, executor=None):
        """Spin in a thread until the test ends."""
        executor = executor or self.make_executor(context=nodes[0].context)
        for node in nodes:
            executor.add_node(node)
        self.running.append(Spinning(executor))
        return self.running[-1]

    def stop(self) -> None:
        while self.running:
            self.running.pop().stop()


@pytest.fixture
def spin(make_node):
    """Spins nodes; it ends before they are destroyed."""
    spinner = Spinner()
    yield spinner
    spinner.stop()


@pytest.fixture
def start_python(tmp_path):
    """Start Python code as a process on the tests' domain; killed after the test."""
    started = []

    def start(code: str, *arguments: str, **environment: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", code, *arguments],
            cwd=tmp_path,
            env={
                **os.environ,
                "ROS_DOMAIN_ID": str(DOMAIN_ID),
                "PYTHONPATH": os.pathsep.join([str(SOURCES), os.environ.get("PYTHONPATH", "")]),
                **environment,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_until(condition, timeout_s: float = PATIENCE_S) -> bool:
    """Wait without spinning; whether it came true within ``timeout_s``."""
    end = time.monotonic() + timeout_s
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return met


@pytest.fixture(name="wait_until")
def wait_until_fixture():
    return wait_until
