"""Timing of a replay: real time or scaled, with pause, single steps and loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

POLL_S = 0.05


@dataclass(frozen=True)
class Event:
    """An event of a recording, due at ``stamp_ns``, nanoseconds."""

    stamp_ns: int
    payload: Any


class Recording(Protocol):
    """Events in order of time, read while they are played; times in nanoseconds."""

    start_ns: int
    end_ns: int

    def events(self) -> Iterator[Event]: ...


@dataclass(frozen=True)
class Due:
    """An event that is due now.

    Attributes:
        event: of the recording; a loop starts again at the first, as in `ros2 bag play`.
        progress: share of the recorded time that has passed, 0..1.
        round: number of completed loops.
    """

    event: Event
    progress: float
    round: int


class Pacer:
    """Yields events when they are due; an event with an earlier stamp than the last is due at once.

    Args:
        recording: what is played.
        rate: speed; 2 = twice as fast as recorded.
        loop: start again at the end.
        step: yield one event for each call of ``step``, regardless of time.
    Raises:
        ValueError: if the rate is not positive, or the recording ends before its start.
    """

    def __init__(
        self, recording: Recording, rate: float = 1.0, loop: bool = False, step: bool = False
    ) -> None:
        if not rate > 0 or recording.end_ns < recording.start_ns:
            raise ValueError(
                f"expected a rate > 0 and an end after the start, got rate {rate} and "
                f"{recording.start_ns}..{recording.end_ns} ns"
            )
        self._recording, self._rate, self._loop, self._stepwise = recording, rate, loop, step
        self._lock = threading.Lock()
        self._paused = threading.Event()
        self._steps = threading.Semaphore(0)
        start = recording.start_ns
        self._anchor = (time.monotonic(), start)  # wall seconds and recorded time then
        self._limit_ns = start  # recorded time never passes the next event

    def step(self) -> None:
        """Release one more event in step mode."""
        self._steps.release()

    def follow(self, rate: float, loop: bool) -> None:
        """Change speed and looping while playing."""
        with self._lock:
            self._anchor = (time.monotonic(), self._now())
            self._rate, self._loop = rate, loop

    def pause(self, paused: bool) -> None:
        """Pause or resume the recorded time."""
        with self._lock:
            now = self._now()
            self._anchor = (time.monotonic(), now)
            (self._paused.set if paused else self._paused.clear)()

    def now_ns(self) -> int:
        """Return the current recorded time (ns), which runs evenly and waits for late events."""
        with self._lock:
            return self._now()

    def _now(self) -> int:
        wall, recorded = self._anchor
        if self._paused.is_set() or self._stepwise:
            return recorded
        passed = int((time.monotonic() - wall) * self._rate * 1e9)
        return min(recorded + passed, self._limit_ns)

    def play(self, stop: threading.Event) -> Iterator[Due]:
        """Yield each event when it is due, until the end or until ``stop`` is set."""
        played = 0
        start, length = self._recording.start_ns, self._recording.end_ns - self._recording.start_ns
        while not stop.is_set():
            self._jump(start)
            for event in self._recording.events():
                if not self._wait(event.stamp_ns, stop):
                    return
                share = (event.stamp_ns - start) / length if length else 1.0
                yield Due(event, min(max(share, 0.0), 1.0), played)
            played += 1
            if not self._loop:
                return

    def _jump(self, stamp: int) -> None:
        with self._lock:
            self._anchor, self._limit_ns = (time.monotonic(), stamp), stamp

    def _wait(self, stamp: int, stop: threading.Event) -> bool:
        """Wait until ``stamp`` is due; returns False if stopped."""
        with self._lock:
            self._limit_ns = stamp
        if self._stepwise:
            while not self._steps.acquire(timeout=POLL_S):
                if stop.is_set():
                    return False
            self._jump(stamp)
            return True
        while (left := stamp - self.now_ns()) > 0:
            wait = POLL_S if self._paused.is_set() else left / 1e9 / self._rate
            if stop.wait(min(wait, POLL_S)):
                return False
        return not stop.is_set()
