"""State of a logger for each line of code that calls it (call site).

The first call fixes the severity, name and filters of its call site. As in rclpy, later calls there
must not differ: ``(logger.info if good else logger.error)(text)`` fails when the severity changes.
"""

from __future__ import annotations

from typing import Any

from rclpy.clock import Clock

OPTIONS = ("throttle_duration_sec", "throttle_time_source_type", "skip_first", "once")
DEFAULT_CLOCK = Clock()


def filters_of(options: dict[str, Any]) -> dict[str, tuple]:
    """Return the filters requested by a call's options, with parameters, in order of application.

    Raises:
        TypeError: if an option does not exist, or throttling has no duration.
        ValueError: if ``throttle_time_source_type`` is not a clock.
    """
    if unknown := [name for name in options if name not in OPTIONS]:
        raise TypeError(f"logging options: expected some of {OPTIONS}, got {unknown}")
    filters: dict[str, tuple] = {}
    if options.get("throttle_duration_sec") or options.get("throttle_time_source_type"):
        duration = options.get("throttle_duration_sec")
        clock = options.get("throttle_time_source_type", DEFAULT_CLOCK)
        if duration is None or clock is None:
            raise TypeError("throttling: throttle_duration_sec is required")
        if not isinstance(clock, Clock):
            raise ValueError(f"throttle_time_source_type: {clock} is not a clock instance")
        filters["throttle"] = (duration, clock)
    for name in ("skip_first", "once"):
        if options.get(name):
            filters[name] = (options[name],)
    return filters


class CallSite:
    """One call site: the properties fixed by its first call, and the state of its filters."""

    def __init__(self, severity: int, name: str, filters: dict[str, tuple]) -> None:
        self._severity, self._name, self._filters = severity, name, filters
        self._logged_ns = 0
        self._was_skipped = self._was_logged = False

    def check(self, severity: int, name: str, filters: dict[str, tuple]) -> None:
        """Raise ValueError if a call differs from the first one at this call site."""
        if severity != self._severity:
            raise ValueError("Logger severity cannot be changed between calls.")
        if name != self._name:
            raise ValueError("Logger name cannot be changed between calls.")
        if filters.keys() != self._filters.keys():
            raise ValueError("Requested logging filters cannot be changed between calls.")
        if filters != self._filters:
            raise ValueError("Logging filter parameters cannot be changed between calls.")

    def passes(self) -> bool:
        """Return True if the filters pass this call; updates them, so use it once per call."""
        return all(getattr(self, f"_{name}")(*self._filters[name]) for name in self._filters)

    def _throttle(self, duration_s: float, clock: Clock) -> bool:
        now = clock.now().nanoseconds
        if now < self._logged_ns + duration_s * 1e9:
            return False
        self._logged_ns = now
        return True

    def _skip_first(self, _: bool) -> bool:
        skipped, self._was_skipped = self._was_skipped, True
        return skipped

    def _once(self, _: bool) -> bool:
        logged, self._was_logged = self._was_logged, True
        return not logged
