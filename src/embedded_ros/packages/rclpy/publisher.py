"""Publishers."""

from __future__ import annotations

import contextlib
from typing import Any

from cyclonedds.core import DDSException

from embedded_ros import cdr, dds, dds_types, graph, qos_mapping
from rclpy._rclpy_pybind11 import InvalidHandle, RCLError
from rclpy.duration import Duration, Infinite
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.qos import resolved


class Publisher:
    """Sends messages of one type to one topic. Made by ``Node.create_publisher``."""

    def __init__(
        self,
        node: Any,
        msg_type: type,
        topic: str,
        qos_profile: Any,
        event_callbacks: PublisherEventCallbacks | None = None,
        callback_group: Any = None,
    ) -> None:
        self._node, self.msg_type, self.topic, self.qos_profile = node, msg_type, topic, qos_profile
        self.callback_group = callback_group
        type_name = msg_type.TYPE_NAME
        self._context = node.context
        self._writer: dds.Writer | None = dds.Writer(
            node.context.participant,
            graph.mangle(graph.TOPIC, topic),
            dds_types.message_type(type_name),
            qos_mapping.to_dds(
                resolved(qos_profile, None), dds_types.type_hash_user_data(type_name)
            ),
        )
        self.event_handlers = (event_callbacks or PublisherEventCallbacks())._attach(self)

    @property
    def topic_name(self) -> str:
        return self.topic

    @property
    def handle(self) -> Publisher:
        return self

    @property
    def _entity(self) -> Any:
        return self._open().entity

    def _open(self) -> dds.Writer:
        if self._writer is None:
            raise InvalidHandle(f"the publisher of '{self.topic}' was destroyed")
        return self._writer

    def publish(self, msg: Any) -> None:
        """Publish a message, or its serialised bytes.

        Raises:
            TypeError: if it is neither a message of this publisher's type nor bytes.
            RCLError: if the context was shut down.
        """
        writer = self._open()
        if not self._context.ok():
            raise RCLError("Failed to publish: publisher's context is invalid")
        if isinstance(msg, self.msg_type):
            data: Any = cdr.serialize(msg)
        elif isinstance(msg, bytes | bytearray):
            data = msg
        else:
            raise TypeError(f"Expected {self.msg_type}, got {type(msg)}")
        try:
            writer.write(data)
        except TimeoutError:
            self._node.get_logger().warning(
                f"'{self.topic}': a reliable subscription is too slow, a message was not sent",
                throttle_duration_sec=5.0,
            )

    def _publish_quietly(self, msg: Any) -> None:
        """Publish for the logger; on failure do nothing, as logging must not log or raise."""
        writer = self._writer
        if writer is None or not self._context.ok():
            return
        with contextlib.suppress(TimeoutError, DDSException):
            writer.write(cdr.serialize(msg))

    def get_subscription_count(self) -> int:
        """Return the number of matched subscriptions."""
        return self._open().matched_count()

    def assert_liveliness(self) -> None:
        self._open().entity._assert_liveliness(self._open().entity._ref)

    def wait_for_all_acked(self, timeout: Duration = Infinite) -> bool:
        """Wait until every reliable subscription has acknowledged all messages."""
        return self._open().entity.wait_for_acks(max(0, timeout.nanoseconds))

    def _guids(self) -> tuple[list[bytes], list[bytes]]:
        return [], [self._open().guid]

    def destroy(self) -> None:
        """Close it; use ``Node.destroy_publisher``."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
