"""Keeps nodes alive on bad input: invalid messages and requests are refused and counted."""

from __future__ import annotations

import functools
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

from rclpy._rclpy_pybind11 import RCLError

THROTTLE_S = 5.0
REFUSED = (ValueError, OverflowError, OSError)
"""Raised by invalid content or by the system; every other exception is a bug."""


class Warnings:
    """Throttled warnings of one node, each kind at most every five seconds; thread-safe.

    Not rclpy's throttle: it works per line of code, so one kind would silence the others.
    """

    def __init__(self, node: Any) -> None:
        self._node = node
        self._told: dict[str, float] = {}
        self._lock = threading.Lock()

    def warn(self, kind: str, text: str) -> None:
        """Log a warning, unless one of the same kind was logged recently."""
        now = time.monotonic()
        with self._lock:
            if now - self._told.get(kind, -THROTTLE_S) < THROTTLE_S:
                return
            self._told[kind] = now
        self._node.get_logger().warning(text)


class GuardedNode:
    """Mixin, placed before rclpy's node class: invalid messages and requests do not end the node.

    A callback rejects its input by raising one of ``REFUSED``. For a topic or timer this is
    logged as a warning; a service responds with ``success: false`` and the reason. Any other
    exception is a bug and is not caught.

    Attributes:
        refused: number of refusals by topic, service or timer.
        failures: errors that ended threads of the node, by thread name; see ``workers``.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self.refused: Counter[str] = Counter()
        self.failures: dict[str, str] = {}
        self._warnings = Warnings(self)
        super().__init__(*args, **options)
        for service in self.services:  # type: ignore[attr-defined]
            # Services that a lifecycle node creates itself are not wrapped yet.
            if not hasattr(service.callback, "__wrapped__"):
                kind, name = service.srv_type, service.srv_name
                service.callback = self._answering(kind, name, service.callback)

    def create_subscription(
        self, msg_type: Any, topic: str, callback: Callable, *args: Any, **options: Any
    ) -> Any:
        guarded = self._guarded(f"message on {topic}", callback)
        return super().create_subscription(msg_type, topic, guarded, *args, **options)  # type: ignore[misc]

    def create_timer(
        self, timer_period_sec: float, callback: Callable, *args: Any, **options: Any
    ) -> Any:
        guarded = self._guarded(getattr(callback, "__qualname__", "timer"), callback)
        return super().create_timer(timer_period_sec, guarded, *args, **options)  # type: ignore[misc]

    def create_service(
        self, srv_type: Any, srv_name: str, callback: Callable, *args: Any, **options: Any
    ) -> Any:
        guarded = self._answering(srv_type, srv_name, callback)
        return super().create_service(srv_type, srv_name, guarded, *args, **options)  # type: ignore[misc]

    def _answering(self, srv_type: Any, srv_name: str, callback: Callable) -> Callable:
        @functools.wraps(callback)
        def guarded(request: Any, response: Any) -> Any:
            try:
                return callback(request, response)
            except (*REFUSED, RCLError) as error:  # RCLError: an invalid lifecycle transition
                what = f"request to {srv_name}"
                self._count(what, error)
                if not hasattr(response, "message"):
                    self._warnings.warn(what, f"{what} refused: {error}")
                return _refusal(srv_type, error)

        return guarded

    def _guarded(self, what: str, callback: Callable) -> Callable:
        @functools.wraps(callback)  # rclpy inspects the callback's signature
        def guarded(*arguments: Any) -> Any:
            try:
                return callback(*arguments)
            except REFUSED as error:
                self._count(what, error)
                count = self.refused[what]
                self._warnings.warn(what, f"{what} refused ({count} so far): {error}")

        return guarded

    def _count(self, what: str, error: Exception) -> None:
        self.refused[what] += 1
        self.get_logger().debug("".join(traceback.format_exception(error)))  # type: ignore[attr-defined]


def _refusal(srv_type: Any, error: Exception) -> Any:
    response = srv_type.Response()
    if hasattr(response, "success"):
        response.success = False
    if hasattr(response, "message"):
        response.message = str(error)
    return response
