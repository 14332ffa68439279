"""A short-lived ROS participant for commands: call a service, wait for a message."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

POLL_S = 0.1  # how long a waiting command may overlook Ctrl-C


class Client:
    """A node that spins in a thread, so that the command's own thread can wait.

    Attributes:
        interrupted: Ctrl-C came; whoever waits here gets KeyboardInterrupt.
    """

    def __init__(self, name: str) -> None:
        self.interrupted = False
        self.node = Node(f"{name}_{os.getpid()}")
        self._clients: dict[str, Any] = {}
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, name="spin", daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def call(self, kind: type, name: str, request: Any, timeout_s: float = 30.0) -> Any:
        """The service's response.

        Raises:
            TimeoutError: nobody answers in time.
            KeyboardInterrupt: Ctrl-C, before or meanwhile.
        """
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
        client = self._clients[name]
        deadline = time.monotonic() + timeout_s
        if not self._wait_until(lambda step_s: client.wait_for_service(step_s), deadline):
            raise TimeoutError(
                f"no service {self.node.resolve_service_name(name)} after {timeout_s:.0f} s: is "
                "its node running, in the same ROS_DOMAIN_ID?"
            )
        done = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        if not self._wait_until(done.wait, deadline):
            raise TimeoutError(f"no answer from {name} after {timeout_s:.0f} s")
        return future.result()

    def pause(self, seconds: float) -> None:
        """Sleep; KeyboardInterrupt where Ctrl-C came, before or meanwhile."""
        self._wait_until(time.sleep, time.monotonic() + seconds)

    def _wait_until(self, wait: Callable[[float], Any], deadline: float) -> bool:
        """Whether ``wait`` (for so many seconds) came true before the deadline."""
        while True:
            if self.interrupted:
                raise KeyboardInterrupt
            left_s = max(0.0, deadline - time.monotonic())
            if wait(min(POLL_S, left_s)):
                return True
            if not left_s:
                return False

    def subscribe(self, kind: type, topic: str, callback: Callable[[Any], None], qos) -> None:
        self.node.create_subscription(kind, topic, callback, qos)

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()


@contextmanager
def connected(name: str) -> Iterator[Client]:
    """A client in a context of its own: ``with connected("query") as client: …``.

    Ctrl-C raises KeyboardInterrupt where the command waits for others, not just anywhere: in a
    finalizer or a callback Python would swallow it. A second Ctrl-C does raise it anywhere.
    """
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    client = Client(name)
    try:
        with _interrupts_noted(client):
            yield client
    finally:
        client.close()
        rclpy.try_shutdown()
    if client.interrupted:
        raise KeyboardInterrupt


@contextmanager
def _interrupts_noted(client: Client) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # Python gives signals to the main thread alone
        return

    def note(number: int, frame: Any) -> None:
        if client.interrupted:
            signal.default_int_handler(number, frame)
        client.interrupted = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
