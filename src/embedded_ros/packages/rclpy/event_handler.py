"""Endpoint event callbacks: incompatible QoS of the other side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cyclonedds.core import DDSException, DDSStatus

from rclpy._rclpy_pybind11 import InvalidHandle
from rclpy.qos import QoSPolicyKind

# DDS policy numbers, as used in a status.
_POLICIES = {
    2: QoSPolicyKind.DURABILITY,
    4: QoSPolicyKind.DEADLINE,
    8: QoSPolicyKind.LIVELINESS,
    11: QoSPolicyKind.RELIABILITY,
}


class UnsupportedEventTypeError(RuntimeError):
    """The middleware does not support this event."""


@dataclass
class QoSIncompatibleInfo:
    """The number of incompatible endpoints seen, and the incompatible policy of the last."""

    total_count: int
    total_count_change: int
    last_policy_kind: QoSPolicyKind


QoSOfferedIncompatibleQoSInfo = QoSIncompatibleInfo
QoSRequestedIncompatibleQoSInfo = QoSIncompatibleInfo


class _EventCallbacks:
    """Watches one status of an endpoint, in the executor of its node."""

    status = 0
    other = flow = ""

    def __init__(
        self,
        *,
        incompatible_qos: Callable[[Any], None] | None = None,
        use_default_callbacks: bool = True,
    ) -> None:
        self.incompatible_qos = incompatible_qos
        self.use_default_callbacks = use_default_callbacks
        self._endpoint: Any = None

    @property
    def callback(self) -> Callable[[Any], Any]:
        return self.incompatible_qos or self._warn

    @property
    def callback_group(self) -> Any:
        return self._endpoint.callback_group

    def _attach(self, endpoint: Any) -> _EventCallbacks:
        self._endpoint = endpoint
        endpoint._entity.set_status_mask(self.status)
        self._condition = endpoint._entity._ref
        return self

    @property
    def _is_wanted(self) -> bool:
        return self.incompatible_qos is not None or self.use_default_callbacks

    def _take_job(self) -> Callable[[], Any] | None:
        try:
            status = self._read(self._endpoint._entity)
        except (InvalidHandle, DDSException):  # destroyed after it was triggered
            return None
        if status.total_count_change <= 0:
            return None
        info = QoSIncompatibleInfo(
            status.total_count,
            status.total_count_change,
            _POLICIES.get(status.last_policy_id, QoSPolicyKind.INVALID),
        )
        return lambda: self.callback(info)

    def _warn(self, info: QoSIncompatibleInfo) -> None:
        endpoint = self._endpoint
        endpoint._node.get_logger().warning(
            f"New {self.other} discovered on topic '{endpoint.topic_name}', with incompatible QoS. "
            f"No messages will be {self.flow} it. "
            f"Last incompatible policy: {info.last_policy_kind.name}"
        )

    def _read(self, entity: Any) -> Any:
        raise AssertionError("each side reads its own status")


class PublisherEventCallbacks(_EventCallbacks):
    """``incompatible_qos(info)`` callback of a publisher; default: a warning."""

    status = DDSStatus.OfferedIncompatibleQos
    other, flow = "subscription", "sent to"

    def _read(self, entity: Any) -> Any:
        return entity.get_offered_incompatible_qos_status()


class SubscriptionEventCallbacks(_EventCallbacks):
    """``incompatible_qos(info)`` callback of a subscription; default: a warning."""

    status = DDSStatus.RequestedIncompatibleQos
    other, flow = "publisher", "received from"

    def _read(self, entity: Any) -> Any:
        return entity.get_requested_incompatible_qos_status()
