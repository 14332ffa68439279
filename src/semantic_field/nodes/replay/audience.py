"""Waits for subscribers before a replay starts, so that its first frames are not lost."""

from __future__ import annotations

import threading
import time

from rclpy.node import Node

from semantic_field.config import ReplayNodeConfig
from semantic_field.msg import FieldStatus
from semantic_field.nodes.replay.playback import Playback
from semantic_field.nodes.ros.qos import LATCHED

POLL_S = 0.1
TOLD_EVERY_S = 5.0
NOT_READY = ("starting", "inactive")


class Audience:
    """Waits for an image subscriber and, if configured, for a mapping node that is ready.

    The mapping node subscribes to images only once its kernels are compiled. As the subscriber
    may be another node (such as RViz), its ``status`` topic is checked too.
    """

    def __init__(self, node: Node, playback: Playback, config: ReplayNodeConfig) -> None:
        self._node, self._playback, self._config = node, playback, config
        self._state = ""
        if config.wait_for_mapping:
            node.create_subscription(FieldStatus, "status", self._on_status, LATCHED)

    def _on_status(self, message: FieldStatus) -> None:
        self._state = message.state

    def missing(self) -> str:
        """Describe who is still missing; empty if nobody is."""
        if self._config.wait_for_mapping and not self._state:
            return "the mapping node: no status yet"
        if self._config.wait_for_mapping and self._state in NOT_READY:
            return f"the mapping node: it is {self._state}"
        return "" if self._playback.heard() else "a subscriber of the images"

    def wait(self, stop: threading.Event) -> None:
        """Wait until nobody is missing, the timeout, or ``stop`` is set; logs what it waits for."""
        begin = time.monotonic()
        end, tell = begin + self._config.wait_for_subscriber_s, begin
        while (missing := self.missing()) and time.monotonic() < end:
            if time.monotonic() >= tell:
                left = end - time.monotonic()
                self._node.get_logger().info(f"waiting for {missing} (at most {left:.0f} s more)")
                tell += TOLD_EVERY_S
            if stop.wait(POLL_S):
                return
        if missing:
            self._node.get_logger().warning(
                f"playing without {missing}; wait_for_subscriber_s gives more time"
            )
        # A best-effort subscription is counted before it receives: let discovery finish.
        stop.wait(0.5)
