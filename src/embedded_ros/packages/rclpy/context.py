"""Contexts: each owns one DDS participant and its nodes."""

from __future__ import annotations

import atexit
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

from embedded_ros import discovery
from embedded_ros.dds import Participant
from embedded_ros.graph import Graph
from rclpy._arguments import Arguments, parse_arguments
from rclpy._rclpy_pybind11 import RCLError

_ALL: weakref.WeakSet[Context] = weakref.WeakSet()


@atexit.register
def _leave_all() -> None:
    """Leave every domain before the interpreter unloads modules."""
    for context in list(_ALL):
        context._at_exit, context._valid = True, False
        context._leave()


class Context:
    """Holds the state of ``init`` and ``shutdown``; nodes belong to one context."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._valid = False
        self._at_exit = False
        self._initialised = False
        self._callbacks: list[Any] = []
        self._nodes: weakref.WeakSet[Any] = weakref.WeakSet()
        self._executors: weakref.WeakSet[Any] = weakref.WeakSet()
        self._graph: Any = None
        self._participant: Any = None
        self._domain_id = 0
        self.arguments = Arguments()
        _ALL.add(self)

    @property
    def handle(self) -> Context:
        return self

    def init(
        self,
        args: list[str] | None = None,
        *,
        initialize_logging: bool = True,
        domain_id: int | None = None,
    ) -> None:
        """Read the arguments (None = ``sys.argv``) and initialise.

        Raises:
            RuntimeError: if it was initialised before, even if it is shut down now.
            RCLError: if a ROS argument is invalid.
            ValueError: if an environment variable is invalid.
        """
        from rclpy import logging

        with self._lock:
            if self._initialised:
                raise RuntimeError("Context.init() must only be called once")
            self.arguments = parse_arguments(sys.argv if args is None else args)
            logging.apply_arguments(self.arguments)
            self._domain_id = discovery.domain_id() if domain_id is None else domain_id
            self._initialised = self._valid = True

    @property
    def participant(self) -> Any:
        """The DDS participant; joins the domain on first access."""
        with self._lock:
            if not self._valid:
                raise RCLError("the context is not initialised, or was shut down")
            if self._participant is None:
                self._participant = Participant(self._domain_id)
            return self._participant

    @property
    def graph(self) -> Any:
        """The ROS graph as seen by this participant (``embedded_ros.graph.Graph``)."""
        with self._lock:
            if self._graph is None:
                self._graph = Graph(self.participant)
            return self._graph

    def get_domain_id(self) -> int:
        return self._domain_id

    def ok(self) -> bool:
        return self._valid

    def shutdown(self) -> None:
        """Shut down; raises RuntimeError if not initialised, or already shut down."""
        if not self._initialised:
            raise RuntimeError("Context must be initialized before it can be shutdown")
        if not self.try_shutdown():
            raise RCLError("failed to shutdown: rcl_shutdown already called on the given context")

    def try_shutdown(self) -> bool:
        """Shut down if not done yet; returns True if this call did it."""
        with self._lock:
            if not self._valid:
                return False
            self._valid = False
        self._notify()
        self._leave_when_unused()
        return True

    def _shutdown_by_signal(self) -> None:
        # A signal handler runs in the main thread, which may already hold the lock: do not wait.
        if self._valid:
            self._valid = False
            self._notify()

    def _notify(self) -> None:
        for executor in list(self._executors):
            executor.wake()
        callbacks, self._callbacks = self._callbacks, []
        for reference in callbacks:
            callback = reference()
            if callback is not None:
                callback()

    def on_shutdown(self, callback: Callable[[], None]) -> None:
        """Call ``callback()`` at shutdown; a bound method does not keep its object alive."""
        if not callable(callback):
            raise TypeError("callback should be a callable")
        with self._lock:
            if not self._valid:
                callback()
            elif hasattr(callback, "__self__"):
                self._callbacks.append(weakref.WeakMethod(callback, self._forget_callback))
            else:
                self._callbacks.append(lambda: callback)

    def _forget_callback(self, reference: Any) -> None:
        if reference in self._callbacks:
            self._callbacks.remove(reference)

    def track_node(self, node: Any) -> None:
        self._nodes.add(node)
        weakref.finalize(node, self._leave_when_unused).atexit = False

    def untrack_node(self, node: Any) -> None:
        self._nodes.discard(node)
        self._leave_when_unused()

    def _leave_when_unused(self) -> None:
        """Leave the domain once shut down and without nodes."""
        with self._lock:
            if self._valid or list(self._nodes):  # list(): skips garbage-collected nodes
                return
        self._leave()

    def _leave(self) -> None:
        with self._lock:
            graph, self._graph = self._graph, None
            participant, self._participant = self._participant, None
        if graph is not None:
            graph.close()
        if participant is not None:
            participant.close()

    def destroy(self) -> None:
        self.try_shutdown()

    def __enter__(self) -> Context:
        self.init()
        return self

    def __exit__(self, *exception: object) -> None:
        self.try_shutdown()
