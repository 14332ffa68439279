"""When each event of a recording is due: real time, faster, paused, stepwise, looped."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

POLL_S = 0.05


@dataclass(frozen=True)
class Due:
    """An event whose time has come.

    Attributes:
        index: which one of the recording.
        stamp_ns: its recorded time; a loop starts again at the first, as `ros2 bag play` does.
        progress: share of the events of this round that are done with it, 0..1.
        round: how often the recording was played before.
    """

    index: int
    stamp_ns: int
    progress: float
    round: int


class Pacer:
    """Gives events out in time.

    Args:
        stamps: nanoseconds, not decreasing.
        rate: speed; 2 = twice as fast as recorded.
        loop: start again at the end.
        step: give one event out for each call of ``step``, whenever that comes.
    """

    def __init__(
        self, stamps: Sequence[int], rate: float = 1.0, loop: bool = False, step: bool = False
    ) -> None:
        if not len(stamps):
            raise ValueError("expected a recording with frames, got an empty one")
        disorder = [i for i in range(1, len(stamps)) if stamps[i] < stamps[i - 1]]
        if disorder or not rate > 0:
            raise ValueError(
                f"expected stamps in order and a rate > 0, got rate {rate} and stamps that go "
                f"back at events {disorder[:5]}"
            )
        self._stamps, self._rate, self._loop, self._stepwise = stamps, rate, loop, step
        self._lock = threading.Lock()
        self._paused = threading.Event()
        self._steps = threading.Semaphore(0)
        self._anchor = (time.monotonic(), stamps[0])  # wall seconds and recorded time then
        self._limit_ns = stamps[0]  # recorded time does not run past the next event

    def __len__(self) -> int:
        return len(self._stamps)

    def step(self) -> None:
        """Let one more event out."""
        self._steps.release()

    def pause(self, paused: bool) -> None:
        """Stop the recorded time, or let it run on."""
        with self._lock:
            now = self._now()
            self._anchor = (time.monotonic(), now)
            (self._paused.set if paused else self._paused.clear)()

    def now_ns(self) -> int:
        """The recorded time at this moment: it runs evenly and waits for a late event."""
        with self._lock:
            return self._now()

    def _now(self) -> int:
        wall, recorded = self._anchor
        if self._paused.is_set() or self._stepwise:
            return recorded
        passed = int((time.monotonic() - wall) * self._rate * 1e9)
        return min(recorded + passed, self._limit_ns)

    def play(self, stop: threading.Event) -> Iterator[Due]:
        """Give each event out when it is due, until the end or until ``stop`` is set."""
        played = 0
        while not stop.is_set():
            self._jump(self._stamps[0])
            for index, stamp in enumerate(self._stamps):
                if not self._wait(stamp, stop):
                    return
                yield Due(index, stamp, (index + 1) / len(self._stamps), played)
            played += 1
            if not self._loop:
                return

    def _jump(self, stamp: int) -> None:
        with self._lock:
            self._anchor, self._limit_ns = (time.monotonic(), stamp), stamp

    def _wait(self, stamp: int, stop: threading.Event) -> bool:
        """Wait until ``stamp`` is due; False when stopped."""
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
