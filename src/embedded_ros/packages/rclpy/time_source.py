"""Simulated time: the subscription to ``/clock`` that moves the clocks of a node."""

from __future__ import annotations

from typing import Any

from rclpy.clock import ROSClock
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time

CLOCK_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


class TimeSource:
    """Drives ROS clocks from ``/clock`` while simulated time is on."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._clocks: list[ROSClock] = []
        self._subscription: Any = None
        self._last_ns = 0

    @property
    def ros_time_is_active(self) -> bool:
        return self._subscription is not None

    def attach_clock(self, clock: ROSClock) -> None:
        if not isinstance(clock, ROSClock):
            raise ValueError("Only clocks with type ROS_TIME can be attached.")
        clock.set_ros_time_override(Time(nanoseconds=self._last_ns))
        clock._set_ros_time_is_active(self.ros_time_is_active)
        self._clocks.append(clock)

    def set_use_sim_time(self, enabled: bool) -> None:
        """Follow ``/clock`` (true) or the system's time (false)."""
        if enabled == self.ros_time_is_active:
            return
        from rosgraph_msgs.msg import Clock as ClockMessage

        if enabled:
            self._subscription = self._node.create_subscription(
                ClockMessage,
                "/clock",
                self._on_clock,
                CLOCK_QOS,
                callback_group=self._node._clock_callback_group,
            )
        else:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
        for clock in self._clocks:
            clock._set_ros_time_is_active(enabled)

    def _on_clock(self, message: Any) -> None:
        time = Time.from_msg(message.clock)
        self._last_ns = time.nanoseconds
        for clock in self._clocks:
            clock.set_ros_time_override(time)

    def detach_node(self) -> None:
        self._clocks.clear()
        self._subscription = None
