"""Subscriptions."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any

from embedded_ros import cdr, dds, dds_types, graph, qos_mapping, socket_buffer
from rclpy._rclpy_pybind11 import InvalidHandle
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.qos import ReliabilityPolicy, resolved


class Subscription:
    """Receives messages of one type from one topic. Made by ``Node.create_subscription``."""

    def __init__(
        self,
        node: Any,
        msg_type: type,
        topic: str,
        callback: Callable[..., Any],
        callback_group: Any,
        qos_profile: Any,
        raw: bool = False,
        event_callbacks: SubscriptionEventCallbacks | None = None,
    ) -> None:
        self._node, self.msg_type, self.topic, self.qos_profile = node, msg_type, topic, qos_profile
        self.callback_group, self.raw = callback_group, raw
        self.callback = callback
        type_name = msg_type.TYPE_NAME
        self._context = node.context
        if qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT:
            socket_buffer.warn_where_small(type_name)
        self._reader: dds.Reader | None = dds.Reader(
            node.context.participant,
            graph.mangle(graph.TOPIC, topic),
            dds_types.message_type(type_name),
            qos_mapping.to_dds(
                resolved(qos_profile, node.get_publishers_info_by_topic(topic)),
                dds_types.type_hash_user_data(type_name),
            ),
        )
        self._condition = self._reader.condition
        self.event_handlers = (event_callbacks or SubscriptionEventCallbacks())._attach(self)

    @property
    def callback(self) -> Callable[..., Any]:
        return self._callback

    @callback.setter
    def callback(self, callback: Callable[..., Any]) -> None:
        self._callback = callback
        self._wants_info = _takes_two(callback)

    @property
    def topic_name(self) -> str:
        return self.topic

    @property
    def handle(self) -> Subscription:
        return self

    @property
    def _entity(self) -> Any:
        return self._open().entity

    def _open(self) -> dds.Reader:
        if self._reader is None:
            raise InvalidHandle(f"the subscription of '{self.topic}' was destroyed")
        return self._reader

    def get_publisher_count(self) -> int:
        """Return the number of matched publishers."""
        return self._open().matched_count()

    def _take(self) -> tuple[Any, dict[str, Any]] | None:
        """Return the next message (bytes if raw) and its info, or None if there is none."""
        reader = self._reader
        while reader is not None:
            sample = reader.take()
            if sample is None:
                return None
            info = {
                "source_timestamp": sample.source_timestamp_ns,  # both in ns since the epoch
                "received_timestamp": time.time_ns(),
                "publication_sequence_number": None,
                "reception_sequence_number": None,
            }
            if self.raw:
                return sample.data, info
            try:
                return cdr.deserialize(sample.data, self.msg_type.TYPE_NAME), info
            except ValueError as error:
                self._node.get_logger().error(f"'{self.topic}': a message is dropped: {error}")
        return None

    def _take_job(self) -> Callable[[], Any] | None:
        taken = self._take()
        if taken is None:
            return None
        message, info = taken
        if self._wants_info:
            return lambda: self._callback(message, info)
        return lambda: self._callback(message)

    def _guids(self) -> tuple[list[bytes], list[bytes]]:
        return [self._open().guid], []

    def destroy(self) -> None:
        """Close it; use ``Node.destroy_subscription``."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()


def _takes_two(callback: Callable[..., Any]) -> bool:
    """Return True if a callback takes the message's info in addition to the message."""
    try:
        inspect.signature(callback).bind(object())
    except TypeError:
        return True
    except ValueError:  # a builtin without a signature, such as list.append
        return False
    return False
