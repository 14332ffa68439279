"""Publishes the mapping node's state as FieldStatus and on /diagnostics."""

from __future__ import annotations

import time
from collections import Counter
from typing import Protocol

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from semantic_field.config import Config, MappingNodeConfig
from semantic_field.mapping.mapper import Mapper, MapperStatus
from semantic_field.msg import FieldStatus, LossValue
from semantic_field.nodes.camera.inputs import FrameInput
from semantic_field.nodes.map.map_publisher import MapPublisher
from semantic_field.nodes.ros import conversions
from semantic_field.nodes.ros.drops import NOT_LOST, DropCounter
from semantic_field.nodes.ros.qos import LATCHED, RELIABLE
from semantic_field.nodes.ros.steady_timer import SteadyTimer
from semantic_field.nodes.ros.workers import what_stopped

STALE_S = 5.0
STATES = {
    "running": "mapping",
    "waiting": "mapping",
    "paused": "paused",
    "stopped": "inactive",
    "failed": "failed",
}


class MappingState(Protocol):
    """The attributes of the mapping node (a LifecycleNode) that the status is made from."""

    settings: MappingNodeConfig
    config: Config
    mapper: Mapper | None
    input: FrameInput | None
    is_active: bool
    drops: DropCounter
    publisher: MapPublisher
    teacher_error: str
    meaning: str
    refused: Counter[str]
    failures: dict[str, str]


class StatusPublisher:
    """Publishes ``status`` (transient local) and ``/diagnostics`` periodically."""

    def __init__(self, node: MappingState) -> None:
        self._node = node
        self._status = node.create_publisher(FieldStatus, "status", LATCHED)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", RELIABLE)
        self._dropped_before = 0
        self._timer = SteadyTimer(node, node.settings.status_period_s, self._publish)

    def follow(self, config: MappingNodeConfig) -> None:
        """Apply new settings: a changed status period."""
        self._timer.follow(config.status_period_s)

    def close(self) -> None:
        self._timer.close()
        self._node.destroy_publisher(self._status)
        self._node.destroy_publisher(self._diagnostics)

    def _publish(self) -> None:
        mapper = self._node.mapper
        if mapper is None:
            return
        status = mapper.status()
        self._node.drops.watch(status.dropped)
        message = self._message(status)
        self._status.publish(message)
        self._diagnostics.publish(self._diagnosis(message, status))

    def _state(self, status: MapperStatus) -> str:
        if not self._node.is_active:
            return "inactive"
        if self._node.failures:
            return "failed"
        return STATES[status.state] if self._node.input is not None else "starting"

    def _message(self, status: MapperStatus) -> FieldStatus:
        node, feed, mapper = self._node, self._node.input, self._node.mapper
        now = node.get_clock().now().nanoseconds
        since = time.monotonic() - feed.last_delivery if feed and feed.last_delivery else -1.0
        return FieldStatus(
            header=conversions.make_header(now, node.settings.input.global_frame),
            state=self._state(status),
            error=what_stopped({"training": status.error} | node.failures),
            frames_received=feed.pairs if feed else 0,
            frames_used=status.frames - sum(status.dropped.values()),
            keyframes=status.keyframes,
            steps=status.steps,
            rays_per_second=float(status.rays_per_s),
            losses=[LossValue(name=n, value=float(v)) for n, v in sorted(status.losses.items())],
            frames_held_back=feed.held_back if feed else 0,
            dropped=node.drops.messages(status.dropped),
            memory_bytes=int(status.memory_bytes),
            snapshot_version=node.publisher.version,
            seconds_since_last_frame=float(since),
            label_names=list(mapper.label_names().values()) if mapper else [],
            kernels=status.kernels,
            device=status.device,
            teacher=node.config.teacher.kind if not node.teacher_error else "none",
            teacher_state=status.teachers.state,
            teacher_error=node.teacher_error or status.teachers.error,
            teacher_keyframes=status.teachers.done,
            teacher_backlog=status.teachers.backlog,
            teacher_rate=float(status.teachers.rate_hz),
            meaning=node.meaning,
        )

    def _diagnosis(self, status: FieldStatus, mapper: MapperStatus) -> DiagnosticArray:
        level, text = DiagnosticStatus.OK, status.state
        lost = [entry for entry in status.dropped if entry.cause not in NOT_LOST]
        dropped = sum(entry.count for entry in lost)
        if status.state == "mapping" and status.seconds_since_last_frame < 0:
            level, text = DiagnosticStatus.WARN, "no frame yet"
        elif status.state == "mapping" and status.seconds_since_last_frame > STALE_S:
            level, text = DiagnosticStatus.WARN, "no new frames"
        if dropped > self._dropped_before:
            causes = ", ".join(f"{entry.cause} {entry.count}" for entry in lost)
            level, text = DiagnosticStatus.WARN, f"dropping frames: {causes}"
        self._dropped_before = dropped
        if status.teacher_error:
            ended = status.teacher_state == "failed"
            level = DiagnosticStatus.ERROR if ended else DiagnosticStatus.WARN
            text = f"teacher: {status.teacher_error}"
        if status.error:
            level, text = DiagnosticStatus.ERROR, status.error
        values = {
            "keyframes": status.keyframes,
            "steps": status.steps,
            "rays per second": round(status.rays_per_second),
            "memory (MB)": round(status.memory_bytes / 1e6),
            "snapshot version": status.snapshot_version,
            "dropped frames": dropped,
            "kernels": f"{status.kernels} on {status.device}",
            "meaning": status.meaning,
            "teacher backlog": status.teacher_backlog,
            "teacher keyframes per second": round(status.teacher_rate, 3),
            "teacher failures": mapper.teachers.failures,
            "last teacher failure": mapper.teachers.last_failure,
            "refused messages and requests": self._node.refused.total(),
        } | {f"mapping.{name}": state for name, state in mapper.switches.items()}
        entry = DiagnosticStatus(
            level=level,
            name=f"{self._node.get_name()}: mapping",
            message=text,
            hardware_id="semantic_field",
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
        return DiagnosticArray(header=status.header, status=[entry])
