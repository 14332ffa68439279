#!/usr/bin/env python3
"""Replay node: plays a recording as live topics, with /clock and TF."""

from __future__ import annotations

import threading
from pathlib import Path

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rosgraph_msgs.msg import Clock as ClockMessage
from std_msgs.msg import Float32
from std_srvs.srv import SetBool, Trigger

from semantic_field.config import ReplayNodeConfig
from semantic_field.data.bag_files import is_bag
from semantic_field.data.replay import Pacer
from semantic_field.data.sources import open_source
from semantic_field.nodes.replay.audience import Audience
from semantic_field.nodes.replay.bag_playback import BagPlayback
from semantic_field.nodes.replay.held_out_playback import HeldOutPlayback
from semantic_field.nodes.replay.playback import FramePlayback, Playback
from semantic_field.nodes.ros.conversions import to_stamp
from semantic_field.nodes.ros.guarding import GuardedNode
from semantic_field.nodes.ros.parameters import declare_settings, follow_changes
from semantic_field.nodes.ros.qos import LATCHED, RELIABLE
from semantic_field.nodes.ros.run import run_node
from semantic_field.nodes.ros.workers import Diagnostics, Worker

CLOCK_PERIOD_S = 0.02


def make_playback(node: Node, config: ReplayNodeConfig) -> Playback:
    """Return the playback of ``config.input``.

    A bag is played message by message; other recordings, bags whose images need conversion, and
    evaluations (``config.protocol``) are played frame by frame.
    """
    path = Path(config.input).expanduser()
    plain_bag = is_bag(path) and not config.source.changes_images
    if not config.protocol and not config.input.startswith("room") and plain_bag:
        return BagPlayback(node, path, config.step)
    options = config.source.options()
    source = open_source(config.input, rate_hz=config.frame_rate_hz, **options)
    return (HeldOutPlayback if config.protocol else FramePlayback)(node, source, config)


class ReplayNode(GuardedNode, Node):
    """Publishes in a background thread, paced by stamps; services ``~/step`` and ``~/pause``."""

    def __init__(self, **options) -> None:
        super().__init__("replay_node", **options)
        self.settings = declare_settings(self, ReplayNodeConfig())
        self._playback = make_playback(self, self.settings)
        self._audience = Audience(self, self._playback, self.settings)
        self._pacer = Pacer(
            self._playback, self.settings.rate, self.settings.loop, self.settings.step
        )
        follow_changes(self, self.settings, "", self._on_settings)
        self._progress = self.create_publisher(Float32, "~/progress", LATCHED)
        self.create_service(Trigger, "~/step", self._on_step)
        self.create_service(SetBool, "~/pause", self._on_pause)
        if self.settings.publish_clock:
            self._clock_publisher = self.create_publisher(ClockMessage, "/clock", RELIABLE)
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self.create_timer(CLOCK_PERIOD_S, self._publish_clock, clock=steady)
        self._stop = threading.Event()
        self._diagnostics = Diagnostics(self)
        self._worker = Worker(self, "replay", self._run, self._end)
        self._worker.start()

    def _on_settings(self, settings: ReplayNodeConfig) -> None:
        self.settings = settings
        self._pacer.follow(settings.rate, settings.loop)

    def _run(self) -> None:
        self._audience.wait(self._stop)
        if self._stop.is_set():
            return
        self.get_logger().info(f"replaying {self.settings.input}")
        for due in self._pacer.play(self._stop):
            try:
                self._playback.publish(due.event)
            except ValueError as error:  # a damaged frame: go on with the others
                self.get_logger().error(f"an event was left out: {error}")
            self._progress.publish(Float32(data=due.progress))
        if self._stop.is_set():
            return
        self.get_logger().info("the recording has ended")

    def _end(self) -> None:
        """Leave where that is wanted, and after a failure: there is nothing left to do."""
        leave = self.settings.exit_when_done or self.failures
        if leave and not self._stop.is_set():
            self._diagnostics.publish()
            rclpy.try_shutdown()

    def _publish_clock(self) -> None:
        self._clock_publisher.publish(ClockMessage(clock=to_stamp(self._pacer.now_ns())))

    def _on_step(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._worker.check()
        response.success = self.settings.step
        response.message = "" if response.success else "start with the parameter step:=true"
        if response.success:
            self._pacer.step()
        return response

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._worker.check()
        self._pacer.pause(request.data)
        response.success, response.message = True, "paused" if request.data else "playing"
        return response

    def destroy_node(self) -> None:
        self._stop.set()
        self._worker.join()
        super().destroy_node()


def main(args: list[str] | None = None) -> int:
    """Run the replay node; returns the exit code."""
    return run_node(ReplayNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
