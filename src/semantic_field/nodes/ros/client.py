"""A short-lived ROS participant for commands: call a service, wait for a message."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from semantic_field.nodes.ros.spinning import Spinning


class Client:
    """A node that spins in a background thread, so that the calling thread can wait.

    Args:
        name: of the node; the process id is appended. options: of rclpy's ``Node``.
    """

    def __init__(self, name: str, **options: Any) -> None:
        self.node = Node(f"{name}_{os.getpid()}", **options)
        self._clients: dict[str, Any] = {}
        executor = SingleThreadedExecutor(context=self.node.context)
        executor.add_node(self.node)
        self._spinning = Spinning(executor)

    def call(self, kind: type, name: str, request: Any, timeout_s: float = 30.0) -> Any:
        """Call a service and return its response; raises TimeoutError if none comes in time."""
        client = self._client(kind, name)
        deadline = time.monotonic() + timeout_s
        if not client.wait_for_service(timeout_sec=timeout_s):
            raise TimeoutError(
                f"no service {self.node.resolve_service_name(name)} after {timeout_s:.0f} s: is "
                "its node running, in the same ROS_DOMAIN_ID?"
            )
        done = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        if not done.wait(max(0.0, deadline - time.monotonic())):
            client.remove_pending_request(future)  # a late answer is ignored
            raise TimeoutError(f"no answer from {name} after {timeout_s:.0f} s")
        return future.result()

    def is_there(self, kind: type, name: str) -> bool:
        """Return whether a node with that service is known; the first call begins to look."""
        return self._client(kind, name).service_is_ready()

    def _client(self, kind: type, name: str) -> Any:
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
        return self._clients[name]

    def subscribe(self, kind: type, topic: str, callback: Callable[[Any], None], qos) -> None:
        self.node.create_subscription(kind, topic, callback, qos)

    def close(self) -> None:
        self._spinning.stop()
        self.node.destroy_node()


@contextmanager
def connected(name: str) -> Iterator[Client]:
    """Yield a client and shut rclpy down after it: ``with connected("query") as client: …``."""
    # No signal handlers of rclpy: Ctrl-C raises KeyboardInterrupt, as in other Python commands.
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    client = Client(name)
    try:
        yield client
    finally:
        client.close()
        rclpy.try_shutdown()
