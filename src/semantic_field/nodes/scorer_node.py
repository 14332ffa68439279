#!/usr/bin/env python3
"""Scorer node: waits for the end of a live run, scores its last snapshot, writes a report."""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import Any

import rclpy
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from std_msgs.msg import Float32
from std_srvs.srv import SetBool

from semantic_field.config import Config, QueryConfig, ScorerNodeConfig, TeacherConfig
from semantic_field.evaluation.live import (
    LiveRun,
    ReceivedFrames,
    live_report,
    sibling_processes,
)
from semantic_field.evaluation.protocols.protocol import load_protocol
from semantic_field.evaluation.report.report_files import write_report
from semantic_field.field.map_file import load_map
from semantic_field.frames import Frame
from semantic_field.msg import FieldSnapshot, FieldStatus
from semantic_field.nodes.camera.inputs import FrameInput
from semantic_field.nodes.ros.drops import DropCounter
from semantic_field.nodes.ros.guarding import GuardedNode
from semantic_field.nodes.ros.parameters import declare_settings, follow_changes
from semantic_field.nodes.ros.qos import LATCHED
from semantic_field.nodes.ros.run import run_node
from semantic_field.nodes.ros.workers import Diagnostics, Worker
from semantic_field.srv import Query

QUESTIONS = ("floor", "somewhere to sit", "table", "a place to sleep", "bicycle") * 4
CALL_TIMEOUT_S = 60.0
POLL_S = 0.1
NODES = ("mapping_node", "query_node", "replay_node")


class ScorerNode(GuardedNode, Node):
    """Callbacks only store data; one thread waits for the end, scores and writes the report.

    ``exit_code`` is 0 once the report is written.
    """

    def __init__(self, **options) -> None:
        super().__init__("scorer_node", **options)
        self.settings = declare_settings(self, ScorerNodeConfig())
        self.config = Config(
            teacher=declare_settings(self, TeacherConfig(), "teacher."),
            query=declare_settings(self, QueryConfig(), "query."),
        )
        follow_changes(self, self.config.query, "query.", self._on_query_settings)
        self._protocol = load_protocol(self.settings.protocol)
        self._frames: list[Frame] = []
        self._names: dict[int, str] = {}
        self._status = FieldStatus()
        self._snapshot: FieldSnapshot | None = None
        self._progress = self._first_frame = 0.0
        self._rates: list[float] = []
        self.exit_code = 1
        self._input = FrameInput(
            self, self.settings.input, DropCounter(self), self._frames.append, self._on_names
        )
        follow_changes(self, self.settings, "", self._on_settings)
        self.create_subscription(FieldStatus, "status", self._on_status, LATCHED)
        self.create_subscription(FieldSnapshot, "snapshot", self._on_snapshot, LATCHED)
        self.create_subscription(Float32, "replay_node/progress", self._on_progress, LATCHED)
        group = ReentrantCallbackGroup()
        self._query = self.create_client(Query, "query", callback_group=group)
        self._pause = self.create_client(SetBool, "pause", callback_group=group)
        self._stop = threading.Event()
        self._diagnostics = Diagnostics(self)
        self._worker = Worker(self, "scorer", self._run, self._end)
        self._worker.start()

    def _on_query_settings(self, query: QueryConfig) -> None:
        self.config = dataclasses.replace(self.config, query=query)

    def _on_settings(self, settings: ScorerNodeConfig) -> None:
        self.settings = settings
        self._input.follow(settings.input)

    def _on_names(self, names: dict[int, str]) -> None:
        self._names = names

    def _on_status(self, message: FieldStatus) -> None:
        self._status = message
        if message.keyframes and not self._first_frame:
            self._first_frame = time.monotonic()
        if message.rays_per_second > 0:
            self._rates.append(float(message.rays_per_second))

    def _on_snapshot(self, message: FieldSnapshot) -> None:
        self._snapshot = message

    def _on_progress(self, message: Float32) -> None:
        self._progress = message.data

    def _run(self) -> None:
        try:
            run = self._watch()
            if run is not None:
                self._report(run)
                self.exit_code = 0
        except (ValueError, RuntimeError, TimeoutError, OSError) as error:
            self.failures["scorer"] = f"no report: {error}"
            self.get_logger().error(f"no report: {error}")

    def _end(self) -> None:
        self._diagnostics.publish()
        rclpy.try_shutdown()

    def _watch(self) -> LiveRun | None:
        """Wait for the end of recording and training budget; returns None when told to stop."""
        first_answer = None
        while not self._is_over():
            if self._stop.wait(POLL_S):
                return None
            if self._status.state == "failed":
                raise RuntimeError(f"the mapping node has failed: {self._status.error}")
            waiting = first_answer is None and self._snapshot is not None
            if waiting and self._ask(QUESTIONS[0]).success:
                first_answer = time.monotonic() - self._first_frame
        mapping_s = time.monotonic() - self._first_frame
        processes = sibling_processes(NODES)
        self._call(self._pause, SetBool.Request(data=True))
        self._settle()
        answer_s = [self._timed_answer(text) for text in QUESTIONS]
        if self._snapshot is None:
            raise RuntimeError("the mapping node published no snapshot")
        rates = sorted(self._rates)
        return LiveRun(
            recording=self.settings.recording,
            protocol=self._protocol,
            state=load_map(bytes(self._snapshot.data)),
            frames=ReceivedFrames(self.settings.recording, self._names, self._frames),
            config=self.config,
            mapping_s=mapping_s,
            status=_plain(self._status),
            first_answer_s=first_answer,
            processes=processes,
            answer_s=answer_s,
            rays_per_s=rates[len(rates) // 2] if rates else 0.0,
            reading=self.settings.source,
        )

    def _is_over(self) -> bool:
        training = self._protocol.training
        if not self._first_frame or self._progress < 1.0:
            return False
        elapsed = time.monotonic() - self._first_frame
        return elapsed >= training.seconds and self._status.steps >= training.steps

    def _settle(self) -> None:
        """Wait for the last snapshot after the pause: no new one for 4 s, or ``settle_s``."""
        deadline = time.monotonic() + self.settings.settle_s
        quiet_since, version = time.monotonic(), -1
        while time.monotonic() < deadline and time.monotonic() - quiet_since < 4.0:
            newest = self._snapshot.version if self._snapshot else -1
            if newest != version:
                version, quiet_since = newest, time.monotonic()
            self._stop.wait(POLL_S)

    def _ask(self, text: str) -> Query.Response:
        return self._call(self._query, Query.Request(text=text))

    def _timed_answer(self, text: str) -> float:
        began = time.perf_counter()
        self._ask(text)
        return time.perf_counter() - began

    def _call(self, client, request) -> Any:
        """Return a service's response; may block, as callbacks run in other threads."""
        if not client.wait_for_service(timeout_sec=CALL_TIMEOUT_S):
            raise TimeoutError(f"no service {client.srv_name} after {CALL_TIMEOUT_S:.0f} s")
        done = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        if not done.wait(CALL_TIMEOUT_S):
            raise TimeoutError(f"no answer from {client.srv_name} in {CALL_TIMEOUT_S:.0f} s")
        return future.result()

    def _report(self, run: LiveRun) -> None:
        self.get_logger().info(f"scoring {len(run.frames)} held-out frames")
        paths = write_report(live_report(run), self.settings.out)
        self.get_logger().info("written: " + ", ".join(str(path) for path in paths))

    def destroy_node(self) -> None:
        self._stop.set()
        self._worker.join()
        self._input.close()
        super().destroy_node()


def _plain(status: FieldStatus) -> dict[str, Any]:
    return {
        "frames_received": int(status.frames_received),
        "keyframes": int(status.keyframes),
        "steps": int(status.steps),
        "dropped": {entry.cause: int(entry.count) for entry in status.dropped},
        "memory_mb": status.memory_bytes / 1e6,
        "kernels": status.kernels,
    }


def main(args: list[str] | None = None) -> int:
    """Run the scorer node; returns the exit code, 0 if the report was written."""
    nodes: list[ScorerNode] = []

    def make_node() -> ScorerNode:
        nodes.append(ScorerNode())
        return nodes[0]

    return run_node(make_node, args) or nodes[0].exit_code


if __name__ == "__main__":
    raise SystemExit(main())
