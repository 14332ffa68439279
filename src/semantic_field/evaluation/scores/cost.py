"""What a run costs: processor seconds, peak memory, speed, latency."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SAMPLE_PERIOD_S = 0.25


@dataclass(frozen=True)
class Usage:
    """Resources of this process since a ``ResourceMeter`` was started.

    Attributes:
        wall_s, cpu_s: seconds; CPU seconds are user and system over all threads.
        peak_rss_mb, start_rss_mb: resident memory, MB.
        peak_gpu_mb: GPU memory that torch had reserved, MB; None without a GPU.
    """

    wall_s: float
    cpu_s: float
    peak_rss_mb: float
    start_rss_mb: float
    peak_gpu_mb: float | None


class ResourceMeter:
    """Watches this process from a thread of its own; use with ``with``."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="resources", daemon=True)
        self._peak = self._start_rss = rss_mb()
        self._wall, self._cpu = time.monotonic(), _cpu_s()

    def __enter__(self) -> ResourceMeter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_PERIOD_S):
            self._peak = max(self._peak, rss_mb())

    def usage(self) -> Usage:
        """Resources used so far."""
        self._peak = max(self._peak, rss_mb())
        return Usage(
            wall_s=time.monotonic() - self._wall,
            cpu_s=_cpu_s() - self._cpu,
            peak_rss_mb=self._peak,
            start_rss_mb=self._start_rss,
            peak_gpu_mb=_gpu_mb(),
        )


def rss_mb(pid: int | None = None) -> float:
    """Resident memory of a process (this one by default), MB; NaN where it cannot be read."""
    try:
        pages = int(Path(f"/proc/{pid or os.getpid()}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return float("nan")
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system


def _gpu_mb() -> float | None:
    import torch

    return torch.cuda.max_memory_reserved() / 1e6 if torch.cuda.is_available() else None


def latency(seconds: list[float]) -> dict[str, Any]:
    """Median and 95th percentile of durations, in milliseconds; None for an empty list."""
    if not seconds:
        return {"median_ms": None, "p95_ms": None, "count": 0}
    values = np.asarray(seconds) * 1e3
    return {
        "median_ms": float(np.median(values)),
        "p95_ms": float(np.percentile(values, 95)),
        "count": len(values),
    }
