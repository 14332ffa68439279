"""Threads of a node that do not die in silence: what ends one is logged, diagnosed and answered."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType

from semantic_field.nodes.ros import conversions
from semantic_field.nodes.ros.qos import RELIABLE

PERIOD_S = 1.0  # of diagnostics, as diagnostic_updater has it


class Worker:
    """A thread of a node. When its function raises, the thread ends and the node goes on without.

    The traceback is logged, and ``node.failures`` has the error by the thread's name until the
    thread is started again. Diagnostics, status and answers tell it from there, and the exit code
    of the process will be 1. What is raised because the context was shut down is no failure.

    Args:
        node: the ``GuardedNode`` that it works for.
        name: of the thread.
        work: what it does.
        at_end: called in the thread when ``work`` has returned or failed, unless the context is
            shut down.
    """

    def __init__(
        self,
        node: Any,
        name: str,
        work: Callable[[], None],
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._node, self._name, self._work, self._at_end = node, name, work, at_end
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin, once."""
        self._node.failures.pop(self._name, None)
        self._thread.start()

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def check(self) -> None:
        """Refuse what needs this thread: ValueError where it has failed."""
        error = self._node.failures.get(self._name)
        if error is not None:
            raise ValueError(
                f"expected the thread '{self._name}' to run, it stopped with {error}: see the log, "
                "and start the node again"
            )

    def _run(self) -> None:
        node = self._node
        try:
            self._work()
        except Exception as error:
            if node.context.ok():
                node.failures[self._name] = f"{type(error).__name__}: {error}"
                node.get_logger().error(f"{self._name} stopped:\n{traceback.format_exc()}")
        if node.context.ok():
            self._at_end()


def what_stopped(failures: Mapping[str, str]) -> str:
    """One line that says which threads have failed, and why; empty where none has."""
    told = dict(failures).items()  # a copy: a thread may fail just now
    return "; ".join(f"{name} stopped: {error}" for name, error in told if error)


class Diagnostics:
    """Publishes ``/diagnostics`` of a node every second: ERROR where one of its threads failed."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", RELIABLE)
        # Steady time: a failure is told even while simulated time stands still.
        node.create_timer(PERIOD_S, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def publish(self) -> None:
        """Tell the state at once."""
        node, stopped = self._node, what_stopped(self._node.failures)
        now = node.get_clock().now().nanoseconds
        entry = DiagnosticStatus(
            level=DiagnosticStatus.ERROR if stopped else DiagnosticStatus.OK,
            name=f"{node.get_name()}: threads",
            message=stopped or "running",
            hardware_id="semantic_field",
        )
        header = conversions.make_header(now, "")
        self._publisher.publish(DiagnosticArray(header=header, status=[entry]))
