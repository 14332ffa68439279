"""Simulated time: the subscription to ``/clock`` that drives the clocks of a node."""

from __future__ import annotations

import weakref
from typing import Any

from rcl_interfaces.msg import SetParametersResult

from rclpy.clock import ROSClock
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time

USE_SIM_TIME = "use_sim_time"
CLOCK_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


class TimeSource:
    """Drives ROS clocks from ``/clock`` while simulated time is on."""

    def __init__(self) -> None:
        self._node: Any = None
        self._clocks: list[ROSClock] = []
        self._subscription: Any = None
        self._last_ns = 0

    @property
    def ros_time_is_active(self) -> bool:
        return self._subscription is not None

    def attach_node(self, node: Any) -> None:
        """Follow the node's parameter ``use_sim_time`` from now on."""
        self._node = weakref.proxy(node)
        if not node.has_parameter(USE_SIM_TIME):
            node.declare_parameter(USE_SIM_TIME, False)
        self._check([node.get_parameter(USE_SIM_TIME)])
        node.add_on_set_parameters_callback(self._check)

    def _check(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name == USE_SIM_TIME:
                if parameter.type_ is not Parameter.Type.BOOL:
                    reason = f"{USE_SIM_TIME}: expected a bool, got {parameter.value!r}"
                    return SetParametersResult(successful=False, reason=reason)
                self.set_use_sim_time(parameter.value)
        return SetParametersResult(successful=True)

    def attach_clock(self, clock: ROSClock) -> None:
        if not isinstance(clock, ROSClock):
            raise ValueError("Only clocks with type ROS_TIME can be attached.")
        clock.set_ros_time_override(Time(nanoseconds=self._last_ns))
        clock._set_ros_time_is_active(self.ros_time_is_active)
        self._clocks.append(clock)

    def set_use_sim_time(self, enabled: bool) -> None:
        """Follow ``/clock`` (True) or system time (False)."""
        if enabled == self.ros_time_is_active:
            return
        from rosgraph_msgs.msg import Clock as ClockMessage

        if enabled:
            # As in rclpy, in the node's default group: time stands still while its callbacks run.
            self._subscription = self._node.create_subscription(
                ClockMessage, "/clock", self._on_clock, CLOCK_QOS
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
