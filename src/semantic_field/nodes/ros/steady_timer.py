"""A timer whose period may change, and that runs while simulated time is stopped."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.timer import Timer


class SteadyTimer:
    """Calls a function every ``period_s`` seconds of steady time."""

    def __init__(self, node: Node, period_s: float, callback: Callable[[], None]) -> None:
        self._node, self._period_s, self._callback = node, period_s, callback
        self._timer = self._make()

    def _make(self) -> Timer:
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        return self._node.create_timer(self._period_s, self._callback, clock=steady)

    def follow(self, period_s: float) -> None:
        """Go on with another period; nothing happens if it is the same."""
        if period_s != self._period_s:
            self._period_s = period_s
            self.close()
            self._timer = self._make()

    def close(self) -> None:
        """Stop calling."""
        self._node.destroy_timer(self._timer)
