"""Whom a replay waits for before it plays: without them its first frames would be lost."""

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
    """A subscriber of the images and, where it is asked for, a mapping node that maps.

    The mapping node listens to no images before its kernels are compiled; that others listen to
    them (RViz perhaps) says nothing of it, so its ``status`` is heard.
    """

    def __init__(self, node: Node, playback: Playback, config: ReplayNodeConfig) -> None:
        self._node, self._playback, self._config = node, playback, config
        self._state = ""
        if config.wait_for_mapping:
            node.create_subscription(FieldStatus, "status", self._on_status, LATCHED)

    def _on_status(self, message: FieldStatus) -> None:
        self._state = message.state

    def missing(self) -> str:
        """Who is not there yet, in words; empty when all are."""
        if self._config.wait_for_mapping and not self._state:
            return "the mapping node: no status yet"
        if self._config.wait_for_mapping and self._state in NOT_READY:
            return f"the mapping node: it is {self._state}"
        return "" if self._playback.heard() else "a subscriber of the images"

    def wait(self, stop: threading.Event) -> None:
        """Until all are there, the time is up or ``stop`` is set; says what it waits for."""
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
        # A best-effort subscription counts before it hears: give discovery its last moment.
        stop.wait(0.5)
