"""Publishes the inference node's state on /diagnostics."""

from __future__ import annotations

import time
from collections import Counter
from typing import Protocol

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from semantic_field.config import InferenceConfig
from semantic_field.nodes.camera.inputs import FrameInput
from semantic_field.nodes.predicting.source_frames import SourceFrames
from semantic_field.nodes.predicting.view_maker import ViewMaker
from semantic_field.nodes.ros import conversions
from semantic_field.nodes.ros.drops import NOT_LOST, DropCounter
from semantic_field.nodes.ros.qos import RELIABLE
from semantic_field.nodes.ros.steady_timer import SteadyTimer
from semantic_field.nodes.ros.workers import what_stopped

STALE_S = 5.0


class InferenceState(Protocol):
    """The attributes of the inference node (a LifecycleNode) that its state is told from."""

    settings: InferenceConfig
    views: ViewMaker | None
    sources: SourceFrames
    input: FrameInput | None
    is_active: bool
    drops: DropCounter
    refused: Counter[str]
    failures: dict[str, str]


class InferenceStatus:
    """Publishes ``/diagnostics`` of the inference node periodically."""

    def __init__(self, node: InferenceState) -> None:
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", RELIABLE)
        self._dropped_before = 0
        self._timer = SteadyTimer(node, node.settings.status_period_s, self._publish)

    def follow(self, config: InferenceConfig) -> None:
        """Apply new settings: a changed period."""
        self._timer.follow(config.status_period_s)

    def close(self) -> None:
        self._timer.close()
        self._node.destroy_publisher(self._publisher)

    def _publish(self) -> None:
        node, views = self._node, self._node.views
        if views is None:
            return
        dropped = {entry.cause: int(entry.count) for entry in node.drops.messages({})}
        level, text = self._state(views, dropped)
        values = {
            "frames in memory": views.frames,
            "frames with labels": len(node.sources.labelled_ns),
            "frames missing": views.missing,
            "views": views.made,
            "seconds for the newest view": round(views.seconds, 3),
            "frames held back": node.input.held_back if node.input else 0,
            "refused messages and requests": node.refused.total(),
        } | {f"dropped: {cause}": count for cause, count in dropped.items()}
        entry = DiagnosticStatus(
            level=level,
            name=f"{node.get_name()}: inference",
            message=text,
            hardware_id="semantic_field",
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
        header = conversions.make_header(node.get_clock().now().nanoseconds, "")
        self._publisher.publish(DiagnosticArray(header=header, status=[entry]))

    def _state(self, views: ViewMaker, dropped: dict[str, int]) -> tuple[bytes, str]:
        """Return the level and the message: the worst that is the case."""
        node, lost = self._node, {c: n for c, n in dropped.items() if c not in NOT_LOST}
        grown, self._dropped_before = sum(lost.values()) > self._dropped_before, sum(lost.values())
        if node.failures:
            return DiagnosticStatus.ERROR, what_stopped(node.failures)
        if not node.is_active or node.input is None:
            return DiagnosticStatus.OK, "starting" if node.is_active else "inactive"
        if grown:
            causes = ", ".join(f"{cause} {count}" for cause, count in lost.items())
            return DiagnosticStatus.WARN, f"dropping: {causes}"
        since = time.monotonic() - node.input.last_delivery
        if not node.input.last_delivery or since > STALE_S:
            new = "new " if node.input.last_delivery else ""
            return DiagnosticStatus.WARN, f"no {new}frames"
        if missing := views.missing:
            return DiagnosticStatus.OK, f"{missing} frames are missing"
        return DiagnosticStatus.OK, "ready"
