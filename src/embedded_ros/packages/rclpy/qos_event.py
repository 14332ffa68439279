"""Former name of ``rclpy.event_handler``."""

from rclpy.event_handler import (
    PublisherEventCallbacks,
    QoSOfferedIncompatibleQoSInfo,
    QoSRequestedIncompatibleQoSInfo,
    SubscriptionEventCallbacks,
)

__all__ = [
    "PublisherEventCallbacks",
    "QoSOfferedIncompatibleQoSInfo",
    "QoSRequestedIncompatibleQoSInfo",
    "SubscriptionEventCallbacks",
]
