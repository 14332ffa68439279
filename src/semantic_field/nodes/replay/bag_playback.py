"""Plays a bag's messages unchanged on their original topics, like ``ros2 bag play``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosidl_runtime_py.utilities import get_message

from semantic_field.data.bag_reader import BagReader
from semantic_field.data.replay import Event
from semantic_field.nodes.ros.qos import LATCHED, RELIABLE

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
# Late subscribers need these too; all other topics are streams.
LATCHED_TYPES = ("vision_msgs/msg/LabelInfo",)
LATCHED_TOPICS = ("/tf_static",)
TF_STATIC_DEPTH = 100  # a bag may hold messages of several publishers


class BagPlayback:
    """Plays a rosbag2 message by message; in step mode, up to the next colour or depth image.

    Topics of unknown type are skipped with a warning. The bag's own /clock is never played: the
    replay node publishes it.

    Raises:
        ValueError: if the bag has no image topics.
    """

    def __init__(self, node: Node, path: Path, step: bool = False) -> None:
        self._reader = BagReader(path)
        self._stepwise = step
        self.start_ns, self.end_ns = self._reader.start_ns, self._reader.end_ns
        self._publishers = {}
        for topic, kind in self._reader.types.items():
            if topic == "/clock":
                continue
            try:
                message = get_message(kind)
            except (ImportError, AttributeError, ValueError) as error:
                node.get_logger().warning(f"{topic} is left out: type {kind} unknown ({error})")
                continue
            self._publishers[topic] = node.create_publisher(message, topic, _qos(topic, kind))
        self._images = {t for t, kind in self._reader.types.items() if kind in IMAGE_TYPES}
        if not self._images & set(self._publishers):
            raise ValueError(f"expected a bag with images, got topics {sorted(self._reader.types)}")

    def events(self) -> Iterator[Event]:
        """Yield single messages or, in step mode, all messages up to and including an image."""
        group: list[tuple[str, bytes]] = []
        received = self.start_ns
        for topic, received, raw, _ in self._reader.raw_messages(*self._publishers):
            group.append((topic, raw))
            if not self._stepwise or topic in self._images:
                yield Event(received, group)
                group = []
        if group:
            yield Event(received, group)

    def publish(self, event: Event) -> None:
        """Publish the event's serialised messages."""
        for topic, raw in event.payload:
            self._publishers[topic].publish(bytes(raw))

    def heard(self) -> bool:
        """Return True if one of the bag's image topics has a subscriber."""
        return any(self._publishers[t].get_subscription_count() > 0 for t in self._images)


def _qos(topic: str, kind: str) -> QoSProfile:
    if topic in LATCHED_TOPICS:
        return QoSProfile(
            depth=TF_STATIC_DEPTH, reliability=LATCHED.reliability, durability=LATCHED.durability
        )
    return LATCHED if kind in LATCHED_TYPES else RELIABLE
