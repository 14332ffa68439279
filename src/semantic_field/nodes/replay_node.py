#!/usr/bin/env python3
"""The replay node: a recording as live topics, with /clock and TF."""

from __future__ import annotations

import threading

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rosgraph_msgs.msg import Clock as ClockMessage
from std_msgs.msg import Float32
from std_srvs.srv import SetBool, Trigger

from semantic_field.config import ReplayNodeConfig
from semantic_field.data.replay import Pacer
from semantic_field.nodes.conversions import to_stamp
from semantic_field.nodes.parameters import declare_settings
from semantic_field.nodes.playback import make_playback
from semantic_field.nodes.qos import LATCHED, SENSOR
from semantic_field.nodes.run import run_node

CLOCK_PERIOD_S = 0.02


class ReplayNode(Node):
    """Publishes in a thread of its own, paced by stamps; services ``~/step`` and ``~/pause``."""

    def __init__(self, **options) -> None:
        super().__init__("replay_node", **options)
        self.settings = declare_settings(self, ReplayNodeConfig())
        self._playback = make_playback(self, self.settings)
        self._pacer = Pacer(self._playback.stamps, self.settings.rate, self.settings.loop)
        self._progress = self.create_publisher(Float32, "~/progress", LATCHED)
        self._clock = (
            self.create_publisher(ClockMessage, "/clock", SENSOR)
            if self.settings.publish_clock
            else None
        )
        self.create_service(Trigger, "~/step", self._on_step)
        self.create_service(SetBool, "~/pause", self._on_pause)
        self._stop = threading.Event()
        self._steps = threading.Semaphore(0)
        if self._clock is not None:
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self.create_timer(CLOCK_PERIOD_S, self._publish_clock, clock=steady)
        self._thread = threading.Thread(target=self._run, name="replay", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._wait_for_subscriber()
        self.get_logger().info(f"replaying {self.settings.input}: {len(self._pacer)} frames")
        for item in self._pacer.play(self._stop):
            if self.settings.step:
                self._wait_for_step()
            if self._stop.is_set():
                return
            self._publish_clock()
            self._playback.publish(item.index, item.stamp_ns)
            self._progress.publish(Float32(data=item.progress))
        self._progress.publish(Float32(data=1.0))
        self.get_logger().info("the recording has ended")

    def _wait_for_step(self) -> None:
        while not self._stop.is_set() and not self._steps.acquire(timeout=0.1):
            pass
