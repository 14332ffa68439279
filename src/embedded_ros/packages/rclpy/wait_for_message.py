"""Waits for a single message."""

from __future__ import annotations

from typing import Any

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.task import Future


def wait_for_message(
    msg_type: type,
    node: Node,
    topic: str,
    *,
    qos_profile: QoSProfile | int = 1,
    time_to_wait: float = -1,
) -> tuple[bool, Any]:
    """Return ``(True, message)`` with the next message of ``topic``, or ``(False, None)`` after
    ``time_to_wait`` seconds (negative: no limit). The node must not be spinning meanwhile."""
    future = Future()
    subscription = node.create_subscription(msg_type, topic, future.set_result, qos_profile)
    executor = SingleThreadedExecutor(context=node.context)
    try:
        executor.add_node(node)
        executor.spin_until_future_complete(future, time_to_wait)
    finally:
        executor.shutdown()
        node.destroy_subscription(subscription)
    return future.done(), future.result()
