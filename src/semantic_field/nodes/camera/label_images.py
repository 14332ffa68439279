"""Optional label images and label names, matched to camera images by stamp."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import Image

from semantic_field.config import InputConfig
from semantic_field.frames import VOID_LABEL, split_void
from semantic_field.nodes.camera.camera_poses import BACKWARD_NS
from semantic_field.nodes.ros import conversions
from semantic_field.nodes.ros.drops import DropCounter
from semantic_field.nodes.ros.qos import INPUTS, LATCHED

MAX_WAITING = 30


class LabelInput:
    """Buffers the newest label images by stamp until their frame takes them.

    Args:
        on_names: called with the names of the classes.
        on_change: called after each label image, and after each change of the names.
    """

    def __init__(
        self,
        node: Node,
        config: InputConfig,
        drops: DropCounter,
        on_names: Callable[[dict[int, str]], None],
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._node, self.config, self._drops, self._on_names = node, config, drops, on_names
        self._on_change = on_change
        self._images: dict[int, Image] = {}
        self._void: frozenset[int] = frozenset()
        self._named = False
        self._newest = 0
        self._topic = node.resolve_topic_name("labels/image")
        self._subscriptions = [
            node.create_subscription(
                Image, "labels/image", self._on_image, INPUTS[config.input_qos]
            ),
        ]
        try:
            from vision_msgs.msg import LabelInfo
        except ImportError:
            node.get_logger().warning("vision_msgs is not installed: label images are not used")
            return
        self._subscriptions.append(
            node.create_subscription(LabelInfo, "labels/label_info", self._on_info, LATCHED)
        )

    def _on_info(self, message) -> None:
        names = {int(entry.class_id): str(entry.class_name) for entry in message.class_map}
        names, self._void = split_void(names)
        self._named = True
        self._on_names(names)
        self._on_change()

    def _on_image(self, message: Image) -> None:
        stamp = conversions.to_nanoseconds(message.header.stamp)
        self._images[stamp] = message
        self._newest = max(self._newest, stamp)
        while len(self._images) > MAX_WAITING:
            del self._images[min(self._images)]
        self._on_change()

    @property
    def is_named(self) -> bool:
        """Whether the names of the classes are known."""
        return self._named

    def close(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def clear(self) -> None:
        self._images.clear()
        self._newest = 0

    def rewind(self, stamp_ns: int) -> None:
        """Handle a clock that went back to ``stamp_ns``: drop images with later stamps."""
        latest = stamp_ns + BACKWARD_NS
        self._images = {s: image for s, image in self._images.items() if s <= latest}
        self._newest = max(self._images, default=0)

    def should_wait(self, stamp_ns: int, waited_s: float) -> bool:
        """Return True if a label image for ``stamp_ns`` may still arrive.

        Labels arrive in order, so a newer one means that this one will not come.
        """
        if self._named and (self._match(stamp_ns) is not None or self._newest > stamp_ns):
            return False
        published = self._node.count_publishers(self._topic) > 0
        return published and waited_s < self.config.label_timeout_s

    def take(self, stamp_ns: int) -> NDArray[np.int32] | None:
        """Remove the label image at ``stamp_ns`` and return its class ids (H, W), -1 = void.

        None if there is none, or it is not usable (counted as dropped).
        """
        match = self._match(stamp_ns)
        if match is None:
            return None
        message = self._images.pop(match)
        if not self._named:
            self._drops.add("no_label_info", "it came without names", what="label image")
            return None
        try:
            ids = conversions.label_ids(message)
        except ValueError as error:
            self._drops.add("label_encoding", str(error), what="label image")
            return None
        if self._void:
            ids[np.isin(ids, list(self._void))] = VOID_LABEL
        return ids

    def matching(self, stamps: Collection[int]) -> list[int]:
        """Return those of the frames' stamps that have a label image here, one for each image."""
        slop = self.config.sync_slop_s * 1e9
        nearest = [min(stamps, key=lambda s, i=i: abs(s - i), default=None) for i in self._images]
        pairs = zip(nearest, self._images, strict=True)
        return list(dict.fromkeys(s for s, i in pairs if s is not None and abs(s - i) <= slop))

    def _match(self, stamp_ns: int) -> int | None:
        nearest = min(self._images, key=lambda stamp: abs(stamp - stamp_ns), default=None)
        slop = self.config.sync_slop_s * 1e9
        return nearest if nearest is not None and abs(nearest - stamp_ns) <= slop else None
