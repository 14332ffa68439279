"""Threads of a node whose errors are logged and reported in diagnostics, status and answers."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType

from semantic_field.nodes.ros import conversions
from semantic_field.nodes.ros.qos import RELIABLE

PERIOD_S = 1.0  # of diagnostics, as in diagnostic_updater


class Worker:
    """A thread of a node. If its function raises an error, the node continues without the thread.

    The traceback is logged, and the error is stored in ``node.failures`` under the thread's name
    until another thread of that name is started. Diagnostics, status and answers report it, and
    the exit code of the process will be 1. Errors after a shutdown of the context are ignored.

    Args:
        node: the ``GuardedNode`` to which the thread belongs.
        name: name of the thread.
        work: function that the thread runs.
        at_end: called in the thread after ``work`` has returned or failed, unless the context is
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
        """Start the thread; can be called only once."""
        self._node.failures.pop(self._name, None)
        self._thread.start()

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread.is_alive()

    def check(self) -> None:
        """Raise a ValueError if the thread has failed."""
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
    """Return one line with the threads that have failed and their errors; "" if there are none."""
    told = dict(failures).items()  # a copy, as other threads may add a failure
    return "; ".join(f"{name} stopped: {error}" for name, error in told if error)


class Diagnostics:
    """Publishes ``/diagnostics`` of a node every second: ERROR if one of its threads has failed."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", RELIABLE)
        # Steady time: failures are published even while simulated time stands still.
        node.create_timer(PERIOD_S, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def publish(self) -> None:
        """Publish the current diagnostics."""
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
