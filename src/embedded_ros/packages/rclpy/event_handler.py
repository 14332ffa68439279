"""Callbacks for what happens to an endpoint: incompatible QoS of the other side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cyclonedds.core import DDSStatus

from rclpy.qos import QoSPolicyKind

# DDS policy numbers as they stand in a status.
_POLICIES = {
    2: QoSPolicyKind.DURABILITY,
    4: QoSPolicyKind.DEADLINE,
    8: QoSPolicyKind.LIVELINESS,
    11: QoSPolicyKind.RELIABILITY,
}


class UnsupportedEventTypeError(RuntimeError):
    """The middleware does not know this event."""


@dataclass
class QoSIncompatibleInfo:
    """How many incompatible endpoints were seen, and the policy of the last."""

    total_count: int
    total_count_change: int
    last_policy_kind: QoSPolicyKind


QoSOfferedIncompatibleQoSInfo = QoSIncompatibleInfo
QoSRequestedIncompatibleQoSInfo = QoSIncompatibleInfo


class _EventCallbacks:
    """Watches one status of an endpoint in the graph's thread."""

    status = 0
    other = ""

    def __init__(
        self,
        *,
        incompatible_qos: Callable[[Any], None] | None = None,
        use_default_callbacks: bool = True,
    ) -> None:
        self.incompatible_qos = incompatible_qos
        self.use_default_callbacks = use_default_callbacks
        self._endpoint: Any = None

    def _attach(self, endpoint: Any) -> Any:
        if self.incompatible_qos is None and not self.use_default_callbacks:
            return self
        self._endpoint = endpoint
        entity = endpoint._entity
        entity.set_status_mask(self.status)
        self._condition = entity._ref
        endpoint._context.graph.watch(self._condition, self._on_status)
        return self

    def _detach(self) -> None:
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None and endpoint._context._graph is not None:
            endpoint._context._graph.unwatch(self._condition)

    def _on_status(self) -> None:
        endpoint = self._endpoint
        if endpoint is None:
            return
        status = self._read(endpoint._entity)
        if status.total_count_change <= 0:
            return
        info = QoSIncompatibleInfo(
            status.total_count,
            status.total_count_change,
            _POLICIES.get(status.last_policy_id, QoSPolicyKind.INVALID),
        )
        if self.incompatible_qos is not None:
            self.incompatible_qos(info)
        else:
            self._warn(endpoint, info)

    def _warn(self, endpoint: Any, info: QoSIncompatibleInfo) -> None:
        endpoint._node.get_logger().warning(
            f"New {self.other} discovered on topic '{endpoint.topic_name}' with incompatible QoS. "
            f"No messages will flow. Last incompatible policy: {info.last_policy_kind.name}"
        )

    def _read(self, entity: Any) -> Any:
        raise AssertionError("each side reads its own status")


class PublisherEventCallbacks(_EventCallbacks):
    """``incompatible_qos(info)`` of a publisher; a warning where none is given."""

    status = DDSStatus.OfferedIncompatibleQos
    other = "subscription"

    def _read(self, entity: Any) -> Any:
        return entity.get_offered_incompatible_qos_status()


class SubscriptionEventCallbacks(_EventCallbacks):
    """``incompatible_qos(info)`` of a subscription; a warning where none is given."""

    status = DDSStatus.RequestedIncompatibleQos
    other = "publisher"

    def _read(self, entity: Any) -> Any:
        return entity.get_requested_incompatible_qos_status()
