"""Loggers: console output in ROS format, levels, throttling, and ``/rosout``."""

from __future__ import annotations

import os
import sys
import time
import weakref
from enum import IntEnum
from typing import Any

from rclpy._logging_calls import CallSite, filters_of

DEFAULT_FORMAT = "[{severity}] [{time}] [{name}]: {message}"
COLORS = {10: "\033[32m", 20: "", 30: "\033[33m", 40: "\033[31m", 50: "\033[31m"}


class LoggingSeverity(IntEnum):
    UNSET = 0
    DEBUG = 10
    INFO = 20
    WARN = 30
    ERROR = 40
    FATAL = 50


_LEVELS: dict[str, int] = {"": LoggingSeverity.INFO}
_ROSOUT: dict[str, Any] = {}
_SETTINGS = {"stdout": True, "rosout": True}


def get_logger(name: str) -> RcutilsLogger:
    """Return the logger of that name; ``a.b`` is a child of ``a``."""
    if not name:
        raise ValueError("Logger name must not be empty.")
    return RcutilsLogger(name)


def get_logging_severity_from_string(level: str) -> LoggingSeverity:
    """Convert ``"warn"``, ``"ERROR"``... to a severity; raises RuntimeError if unknown."""
    text = level.upper()
    if text not in LoggingSeverity.__members__:
        known = ", ".join(item.name.lower() for item in LoggingSeverity)
        raise RuntimeError(f"log level: expected one of {known}, got {level!r}")
    return LoggingSeverity[text]


def set_logger_level(name: str, level: int, detailed_error: bool = False) -> None:
    """Set the lowest severity that a logger, and children without own level, output."""
    _LEVELS[name] = LoggingSeverity(level)


def get_logger_level(name: str) -> LoggingSeverity:
    """Return the level set for exactly this logger; UNSET if none is."""
    return LoggingSeverity(_LEVELS.get(name, LoggingSeverity.UNSET))


def get_logger_effective_level(name: str) -> LoggingSeverity:
    """Return the effective level: its own, else that of its nearest ancestor."""
    while name:
        if level := _LEVELS.get(name):
            return LoggingSeverity(level)
        name = name.rpartition(".")[0]
    return LoggingSeverity(_LEVELS[""])


def initialize() -> None:
    pass


def shutdown() -> None:
    pass


def clear_config() -> None:
    """Reset all levels to INFO."""
    _LEVELS.clear()
    _LEVELS[""] = LoggingSeverity.INFO


def apply_arguments(arguments: Any) -> None:
    """Take levels and outputs from ``--ros-args``."""
    for name, level in arguments.log_levels:
        _LEVELS[name or ""] = get_logging_severity_from_string(level)
    _SETTINGS["stdout"], _SETTINGS["rosout"] = arguments.stdout_logs, arguments.rosout


def connect_rosout(name: str, publisher: Any) -> None:
    """Also send messages of the logger ``name`` and its children to a ``/rosout`` publisher."""
    _ROSOUT[name] = weakref.ref(publisher)


def disconnect_rosout(name: str) -> None:
    _ROSOUT.pop(name, None)


class RcutilsLogger:
    """A named logger. Options of every call: ``once``, ``skip_first``,
    ``throttle_duration_sec`` (with ``throttle_time_source_type``, a clock)."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._call_sites: dict[tuple, CallSite] = {}

    def get_child(self, name: str) -> RcutilsLogger:
        if not name:
            raise ValueError("Child logger name must not be empty.")
        return RcutilsLogger(f"{self.name}.{name}" if self.name else name)

    def set_level(self, level: int) -> None:
        set_logger_level(self.name, level)

    def get_effective_level(self) -> LoggingSeverity:
        return get_logger_effective_level(self.name)

    def is_enabled_for(self, severity: int) -> bool:
        return LoggingSeverity(severity) >= self.get_effective_level()

    def debug(self, message: str, **kwargs: Any) -> bool:
        return self.log(message, LoggingSeverity.DEBUG, **kwargs)

    def info(self, message: str, **kwargs: Any) -> bool:
        return self.log(message, LoggingSeverity.INFO, **kwargs)

    def warning(self, message: str, **kwargs: Any) -> bool:
        return self.log(message, LoggingSeverity.WARN, **kwargs)

    def warn(self, message: str, **kwargs: Any) -> bool:
        return self.warning(message, **kwargs)

    def error(self, message: str, **kwargs: Any) -> bool:
        return self.log(message, LoggingSeverity.ERROR, **kwargs)

    def fatal(self, message: str, **kwargs: Any) -> bool:
        return self.log(message, LoggingSeverity.FATAL, **kwargs)

    def log(self, message: str, severity: int, name: str | None = None, **kwargs: Any) -> bool:
        """Output a message; returns True unless it was filtered, throttled or skipped.

        Raises:
            ValueError: severity, name or options differ from the first call at this place.
            TypeError: if an option does not exist, or the message is not a string.
        """
        if not self.is_enabled_for(severity):
            return False
        severity, name = LoggingSeverity(severity), name or self.name
        filters, frame = filters_of(kwargs), _caller()
        key = (frame.f_code.co_name, frame.f_code.co_filename, frame.f_lineno, frame.f_lasti)
        site = self._call_sites.setdefault(key, CallSite(severity, name, filters))
        site.check(severity, name, filters)
        if not site.passes():
            return False
        if not isinstance(message, str):
            raise TypeError(f"message: expected a str, got {type(message)}: use str(...)")
        _put_out(message, severity, name, frame)
        return True


def _caller() -> Any:
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return frame


def _put_out(message: str, severity: LoggingSeverity, name: str, frame: Any) -> None:
    now_ns = time.time_ns()
    if _SETTINGS["stdout"]:
        _write(message, severity, name, frame, now_ns)
    if _SETTINGS["rosout"]:
        _publish(message, severity, name, frame, now_ns)


def _write(message: str, severity: LoggingSeverity, name: str, frame: Any, now_ns: int) -> None:
    text = os.environ.get("RCUTILS_CONSOLE_OUTPUT_FORMAT", DEFAULT_FORMAT)
    values = {
        "severity": severity.name,
        "name": name,
        "time": f"{now_ns // 10**9}.{now_ns % 10**9:09d}",
        "time_as_nanoseconds": str(now_ns),
        "function_name": frame.f_code.co_name,
        "file_name": frame.f_code.co_filename,
        "line_number": str(frame.f_lineno),
        "message": message,
    }
    for key, value in values.items():
        text = text.replace("{" + key + "}", value)
    if _is_colored() and COLORS[severity]:
        text = f"{COLORS[severity]}{text}\033[0m"
    stream = sys.stdout if os.environ.get("RCUTILS_LOGGING_USE_STDOUT") == "1" else sys.stderr
    if stream is not None and not stream.closed:
        stream.write(text + "\n")
        stream.flush()


def _is_colored() -> bool:
    choice = os.environ.get("RCUTILS_COLORIZED_OUTPUT")
    return choice == "1" if choice in ("0", "1") else sys.stderr is not None and sys.stderr.isatty()


def _publish(message: str, severity: LoggingSeverity, name: str, frame: Any, now_ns: int) -> None:
    publisher = _rosout_of(name)
    if publisher is None:
        return
    from builtin_interfaces.msg import Time
    from rcl_interfaces.msg import Log

    publisher._publish_quietly(
        Log(
            stamp=Time(sec=now_ns // 10**9, nanosec=now_ns % 10**9),
            level=int(severity),
            name=name,
            msg=message,
            file=frame.f_code.co_filename,
            function=frame.f_code.co_name,
            line=frame.f_lineno,
        )
    )


def _rosout_of(name: str) -> Any:
    while name:
        reference = _ROSOUT.get(name)
        if reference is not None:
            return reference()
        name = name.rpartition(".")[0]
    return None
