"""``MapperStatus``: state, speed and errors of a mapper."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from semantic_field.mapping.language.teacher_worker import TeacherStatus
from semantic_field.mapping.live_map import LiveMap


@dataclass(frozen=True)
class MapperStatus:
    """Status of a mapper.

    Attributes:
        state: "running", "paused", "waiting" (no frame yet), "stopped" or "failed" (see error).
        keyframes: number of keyframes.
        steps, rays: numbers of training steps and of their rays so far.
        rays_per_s: training speed over about the last second.
        losses: weighted losses by name; those of the last step that had each.
        dropped: number of frames not used, by cause ("mapper_busy", "view_covered", ...).
        memory_bytes: memory of keyframes, trained grid, voxels and image targets.
        snapshot_version: version of the newest snapshot.
        frames: number of frames offered.
        kernels, device: name of the grid kernels, and their device.
        error: why training stopped, "" if it did not.
        teachers: status of the image teachers.
        switches: for each option that may be "auto", whether it is on, and why, in words.
    """

    state: str
    keyframes: int
    steps: int
    rays: int
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
    switches: dict[str, str] = field(default_factory=dict)


def status_of(
    live_map: LiveMap,
    rays_per_s: float,
    started: bool,
    paused: bool,
    error: str,
    snapshot_version: int,
    teachers: TeacherStatus,
) -> MapperStatus:
    """Return the status of a mapper with this live map; read-only, takes no lock."""
    intake, trainer, store = live_map.intake, live_map.trainer, live_map.keyframes
    keyframes = store.count if store else 0
    return MapperStatus(
        state=_run_state(error, started, paused, keyframes),
        keyframes=keyframes,
        steps=trainer.steps,
        rays=trainer.rays,
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
        switches=intake.switches.states(),
    )


def _run_state(error: str, started: bool, paused: bool, keyframes: int) -> str:
    """Return the value of ``MapperStatus.state``."""
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
        """Count trained rays; updates ``rays_per_s`` about once a second."""
        self._rays += rays
        elapsed = time.monotonic() - self._since
        if elapsed >= 1.0:
            self.rays_per_s = self._rays / elapsed
            self.restart()

    def restart(self) -> None:
        """Restart the measurement, such as after a pause."""
        self._since, self._rays = time.monotonic(), 0
