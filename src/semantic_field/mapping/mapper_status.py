"""What a mapper reports about itself."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from semantic_field.mapping.language.teacher_worker import TeacherStatus
from semantic_field.mapping.live_map import LiveMap


@dataclass(frozen=True)
class MapperStatus:
    """The mapper at one moment.

    Attributes:
        state: "running", "paused", "waiting" (no frame yet), "stopped" or "failed" (see error).
        rays_per_s: training speed over the last second or so.
        losses: weighted losses of the last step by name.
        dropped: frames not taken, by cause ("mapper_busy", "view_covered", ...).
        memory_bytes: keyframes, grid, moments and voxels.
        kernels, device: the grid's kernels, and where they work.
        error: why training stopped, "" while all is well.
        teachers: those that look at the keyframes.
    """

    state: str
    keyframes: int
    steps: int
    rays_per_s: float
    losses: dict[str, float]
    dropped: dict[str, int]
    memory_bytes: int
    snapshot_version: int
    frames: int
    kernels: str
    device: str = "cpu"
    error: str = ""
    teachers: TeacherStatus = field(default_factory=TeacherStatus)


def status_of(
    live_map: LiveMap,
    rays_per_s: float,
    started: bool,
    paused: bool,
    error: str,
    snapshot_version: int,
    teachers: TeacherStatus,
) -> MapperStatus:
    """The status of a mapper with this live map; only reads, at any time."""
    intake, trainer, store = live_map.intake, live_map.trainer, live_map.keyframes
    keyframes = store.count if store else 0
    return MapperStatus(
        state=_run_state(error, started, paused, keyframes),
        keyframes=keyframes,
        steps=trainer.steps,
        rays_per_s=rays_per_s,
        losses=dict(trainer.losses),
        dropped=dict(intake.dropped),
        memory_bytes=live_map.memory_bytes(),
        snapshot_version=snapshot_version,
        frames=intake.frames,
        kernels=live_map.field.kernels.name,
        device=str(live_map.device),
        error=error,
        teachers=teachers,
    )


def _run_state(error: str, started: bool, paused: bool, keyframes: int) -> str:
    """The word for ``MapperStatus.state``."""
    if error:
        return "failed"
    if not started:
        return "stopped"
    return "paused" if paused else "running" if keyframes else "waiting"


@dataclass
class Meter:
    """Training speed, averaged over about a second."""

    rays_per_s: float = 0.0
    _since: float = field(default_factory=time.monotonic)
    _rays: int = 0

    def count(self, rays: int) -> None:
        self._rays += rays
        elapsed = time.monotonic() - self._since
        if elapsed >= 1.0:
            self.rays_per_s = self._rays / elapsed
            self.restart()

    def restart(self) -> None:
        self._since, self._rays = time.monotonic(), 0
