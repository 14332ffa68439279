"""Clocks: system, steady and ROS time, with callbacks for jumps of ROS time."""

from __future__ import annotations

import threading
import time as system
import weakref
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from rclpy._default_context import KEPT, LOCK
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from rclpy.time import Time


class ClockChange(IntEnum):
    """The kind of change at a time jump."""

    ROS_TIME_NO_CHANGE = 1
    ROS_TIME_ACTIVATED = 2
    ROS_TIME_DEACTIVATED = 3
    SYSTEM_TIME_NO_CHANGE = 4


class JumpThreshold:
    """The smallest jumps that call a callback: ``min_backward`` <= 0 <= ``min_forward``."""

    def __init__(
        self,
        *,
        min_forward: Duration | None,
        min_backward: Duration | None,
        on_clock_change: bool = True,
    ) -> None:
        if min_forward is not None and min_forward.nanoseconds <= 0:
            raise ValueError("min_forward must be a positive non-zero duration")
        if min_backward is not None and min_backward.nanoseconds >= 0:
            raise ValueError("min_backward must be a negative non-zero duration")
        self.min_forward, self.min_backward = min_forward, min_backward
        self.on_clock_change = on_clock_change

    def crossed_by(self, change: ClockChange, delta_ns: int) -> bool:
        if change in (ClockChange.ROS_TIME_ACTIVATED, ClockChange.ROS_TIME_DEACTIVATED):
            return self.on_clock_change
        if self.min_forward is not None and delta_ns >= self.min_forward.nanoseconds:
            return True
        return self.min_backward is not None and delta_ns <= self.min_backward.nanoseconds


class TimeJump:
    """One time jump: its ``clock_change`` and duration ``delta``."""

    def __init__(self, clock_change: ClockChange, delta: Duration) -> None:
        self._clock_change, self._delta = clock_change, delta

    @property
    def clock_change(self) -> ClockChange:
        return self._clock_change

    @property
    def delta(self) -> Duration:
        return self._delta


class JumpHandle:
    """Keeps a jump callback registered until ``unregister()``, or until it is garbage-collected
    (when rclpy would call a dangling callback)."""

    def __init__(self, clock: Clock, threshold: JumpThreshold, before: Any, after: Any) -> None:
        self._clock, self.threshold = clock, threshold
        self.before, self.after = before, after

    def unregister(self) -> None:
        self._clock._jump_handles.discard(self)

    def __enter__(self) -> JumpHandle:
        return self

    def __exit__(self, *exception: object) -> None:
        self.unregister()


class Clock:
    """A clock of one kind. ``Clock(clock_type=ClockType.ROS_TIME)`` is a ``ROSClock``."""

    def __new__(cls, *, clock_type: ClockType = ClockType.SYSTEM_TIME) -> Clock:
        if clock_type is ClockType.ROS_TIME and not issubclass(cls, ROSClock):
            return super().__new__(ROSClock)
        return super().__new__(cls)

    def __init__(self, *, clock_type: ClockType = ClockType.SYSTEM_TIME) -> None:
        if getattr(self, "_jump_handles", None) is not None:
            return
        self._clock_type = clock_type
        self._jump_handles: weakref.WeakSet[JumpHandle] = weakref.WeakSet()
        self._changed = threading.Condition()

    @property
    def clock_type(self) -> ClockType:
        return self._clock_type

    def now(self) -> Time:
        return Time(nanoseconds=self._now_ns(), clock_type=self._clock_type)

    def _now_ns(self) -> int:
        if self._clock_type is ClockType.STEADY_TIME:
            return system.monotonic_ns()
        return system.time_ns()

    def _follows_wall_time(self) -> bool:
        return True

    def create_jump_callback(
        self,
        threshold: JumpThreshold,
        *,
        pre_callback: Callable[[], None] | None = None,
        post_callback: Callable[[TimeJump], None] | None = None,
    ) -> JumpHandle:
        if pre_callback is None and post_callback is None:
            raise ValueError("One of pre_callback or post_callback must be callable")
        handle = JumpHandle(self, threshold, pre_callback, post_callback)
        self._jump_handles.add(handle)
        return handle

    def sleep_until(self, until: Time, context: Any = None) -> bool:
        """Sleep until this clock reaches ``until``; returns False if the context was shut down or
        simulated time was switched on or off meanwhile."""
        if until.clock_type != self._clock_type:
            raise ValueError("until's clock type does not match this clock's type")
        with LOCK:
            context = context or next(iter(KEPT), None)
        started_with_wall_time = self._follows_wall_time()
        with self._changed:
            while context is not None and context.ok():
                left_s = (until.nanoseconds - self._now_ns()) / 1e9
                if left_s <= 0:
                    return True
                if self._follows_wall_time() != started_with_wall_time:
                    return False
                self._changed.wait(min(left_s, 0.1) if started_with_wall_time else 0.1)
        return False

    def sleep_for(self, rel_time: Duration, context: Any = None) -> bool:
        return self.sleep_until(self.now() + rel_time, context)


class ROSClock(Clock):
    """ROS time: the time of ``/clock`` while simulated time is active, else system time."""

    def __new__(cls, *, clock_type: ClockType = ClockType.ROS_TIME) -> ROSClock:
        return super().__new__(cls, clock_type=ClockType.ROS_TIME)

    def __init__(self, *, clock_type: ClockType = ClockType.ROS_TIME) -> None:
        if getattr(self, "_jump_handles", None) is not None:
            return
        super().__init__(clock_type=ClockType.ROS_TIME)
        self._active = False
        self._override_ns = 0
        self._on_change: Callable[[], None] = lambda: None  # set by the node that owns the clock

    def _now_ns(self) -> int:
        return self._override_ns if self._active else system.time_ns()

    def _follows_wall_time(self) -> bool:
        return not self._active

    @property
    def ros_time_is_active(self) -> bool:
        return self._active

    def _set_ros_time_is_active(self, enabled: bool) -> None:
        if enabled == self._active:
            return
        change = ClockChange.ROS_TIME_ACTIVATED if enabled else ClockChange.ROS_TIME_DEACTIVATED

        def switch() -> int:
            self._active = enabled
            return 0  # the difference between the two times is not reported, as in rcl

        self._jump(change, switch)

    def set_ros_time_override(self, time: Time) -> None:
        delta = time.nanoseconds - self._override_ns

        def move() -> int:
            self._override_ns = time.nanoseconds
            return delta

        if self._active:
            self._jump(ClockChange.ROS_TIME_NO_CHANGE, move, delta)
        else:
            move()

    def _jump(
        self, change: ClockChange, apply: Callable[[], int], delta_ns: int | None = None
    ) -> None:
        handles = [
            handle
            for handle in list(self._jump_handles)
            if handle.threshold.crossed_by(change, delta_ns or 0)
        ]
        for handle in handles:
            if handle.before is not None:
                handle.before()
        with self._changed:
            delta = apply()
            self._changed.notify_all()
        jump = TimeJump(change, Duration(nanoseconds=delta))
        for handle in handles:
            if handle.after is not None:
                handle.after(jump)
        self._on_change()
