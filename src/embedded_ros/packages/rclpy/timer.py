"""Timers and rates on any clock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rclpy.exceptions import ROSInterruptException, TimerCancelledError


class Timer:
    """Calls a function periodically by its clock. Created by ``Node.create_timer``."""

    def __init__(
        self,
        callback: Callable[[], Any],
        callback_group: Any,
        timer_period_ns: int,
        clock: Any,
        *,
        context: Any = None,
        autostart: bool = True,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        if timer_period_ns < 0:
            raise ValueError(f"timer period: expected at least 0 ns, got {timer_period_ns}")
        self.callback, self.callback_group = callback, callback_group
        self._clock, self._wake = clock, wake
        self._period_ns = int(timer_period_ns)
        self._lock = threading.Lock()
        self._cancelled = not autostart
        self._destroyed = False
        self._last_ns = clock.now().nanoseconds
        self._next_ns = self._last_ns + self._period_ns
        self._in_real_time = clock._follows_wall_time()

    @property
    def clock(self) -> Any:
        return self._clock

    @property
    def handle(self) -> Timer:
        return self

    @property
    def timer_period_ns(self) -> int:
        return self._period_ns

    @timer_period_ns.setter
    def timer_period_ns(self, value: int) -> None:
        self._period_ns = int(value)

    def is_ready(self) -> bool:
        """Return True if a call is due; a clock that goes back or is switched restarts it."""
        if self._cancelled or self._destroyed:
            return False
        with self._lock:
            now = self._clock.now().nanoseconds
            if now < self._last_ns or self._in_real_time != self._clock._follows_wall_time():
                self._in_real_time = self._clock._follows_wall_time()
                self._last_ns, self._next_ns = now, now + self._period_ns
            return now >= self._next_ns

    def _real_time_until_ready_ns(self) -> int | None:
        """Return how long to wait, ns; None if only a clock message can make it ready."""
        if self._cancelled or self._destroyed or not self._clock._follows_wall_time():
            return None
        return max(0, self._next_ns - self._clock.now().nanoseconds)

    def _take_job(self) -> Callable[[], Any] | None:
        if not self.is_ready():
            return None
        with self._lock:
            now = self._clock.now().nanoseconds
            self._last_ns = now
            self._next_ns += self._period_ns
            if self._next_ns <= now:  # missed calls are skipped
                missed = (now - self._next_ns) // self._period_ns + 1 if self._period_ns else 0
                self._next_ns = self._next_ns + missed * self._period_ns if missed else now
        return self.callback

    def is_canceled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        self._cancelled = True

    def reset(self) -> None:
        """Restart the period, also after ``cancel()``."""
        with self._lock:
            self._last_ns = self._clock.now().nanoseconds
            self._next_ns = self._last_ns + self._period_ns
            self._cancelled = False
        self._wake()

    def time_since_last_call(self) -> int:
        return self._clock.now().nanoseconds - self._last_ns

    def time_until_next_call(self) -> int | None:
        """Return the nanoseconds until the next call, negative if late; None if cancelled."""
        return None if self._cancelled else self._next_ns - self._clock.now().nanoseconds

    def destroy(self) -> None:
        self._destroyed = True


class Rate:
    """Sleeps to maintain a frequency; another thread must spin. Created by ``Node.create_rate``."""

    def __init__(self, timer: Timer, *, context: Any) -> None:
        self._timer, self._context = timer, context
        self._tick = threading.Condition()
        self._ticks = 0
        timer.callback = self._on_timer
        context.on_shutdown(self._on_shutdown)

    def _on_timer(self) -> None:
        with self._tick:
            self._ticks += 1
            self._tick.notify_all()

    def _on_shutdown(self) -> None:
        with self._tick:
            self._tick.notify_all()

    def sleep(self) -> None:
        """Wait for the next tick; raises ROSInterruptException at shutdown."""
        with self._tick:
            seen = self._ticks
            while self._ticks == seen:
                if self._timer._destroyed or self._timer.is_canceled():
                    raise TimerCancelledError("the rate was destroyed")
                if not self._context.ok():
                    raise ROSInterruptException
                self._tick.wait(0.1)

    def destroy(self) -> None:
        self._timer.destroy()
        self._on_shutdown()
