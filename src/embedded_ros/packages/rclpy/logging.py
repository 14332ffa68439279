"""Loggers: console output as ROS formats it, levels, throttling, and ``/rosout``."""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from enum import IntEnum
from typing import Any

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
_LOCK = threading.RLock()
_ROSOUT: dict[str, Any] = {}
_SETTINGS = {"stdout": True, "rosout": True}


def get_logger(name: str) -> RcutilsLogger:
    """The logger of that name; ``a.b`` is a child of ``a``."""
    if not name:
        raise ValueError("Logger name must not be empty.")
    return RcutilsLogger(name)


def get_logging_severity_from_string(level: str) -> LoggingSeverity:
    """``"warn"``, ``"WARNING"``... as a severity; RuntimeError where it is none."""
    text = level.strip().upper()
    text = {"WARNING": "WARN"}.get(text, text)
    if text.isdigit() and int(text) in set(LoggingSeverity):
        return LoggingSeverity(int(text))
    if text not in LoggingSeverity.__members__:
        known = ", ".join(item.name.lower() for item in LoggingSeverity)
        raise RuntimeError(f"log level: expected one of {known}, got {level!r}")
    return LoggingSeverity[text]


def set_logger_level(name: str, level: int, detailed_error: bool = False) -> None:
    """Set the lowest severity that the logger (and its children without their own) puts out."""
    _LEVELS[name] = LoggingSeverity(level)


def get_logger_level(name: str) -> LoggingSeverity:
    """The level set for exactly this logger, UNSET where none is."""
    return LoggingSeverity(_LEVELS.get(name, LoggingSeverity.UNSET))


def get_logger_effective_level(name: str) -> LoggingSeverity:
    """The level that counts: its own, else of its nearest ancestor."""
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
    """Back to INFO everywhere."""
    _LEVELS.clear()
    _LEVELS[""] = LoggingSeverity.INFO


def apply_arguments(arguments: Any) -> None:
    """Take levels and outputs from ``--ros-args``."""
    for name, level in arguments.log_levels:
        _LEVELS[name or ""] = get_logging_severity_from_string(level)
    _SETTINGS["stdout"], _SETTINGS["rosout"] = arguments.stdout_logs, arguments.rosout


def connect_rosout(name: str, publisher: Any) -> None:
    """Send what the logger ``name`` and its children say to a ``/rosout`` publisher too."""
    _ROSOUT[name] = weakref.ref(publisher)


def disconnect_rosout(name: str) -> None:
    _ROSOUT.pop(name, None)


class RcutilsLogger:
    """Writes messages of one name. Options of every call: ``once``, ``skip_first``,
    ``throttle_duration_sec`` (with ``throttle_time_source_type``, a clock)."""

    # (file, line) of a call: what it remembers between calls
    _contexts: dict[tuple[str, int], dict[str, Any]] = {}

    def __init__(self, name: str) -> None:
        self.name = name

    def get_child(self, name: str) -> RcutilsLogger:
        if not name:
            raise ValueError("Child logger name must not be empty.")
        return RcutilsLogger(f"{self.name}.{name}")

    def set_level(self, level: int) -> None:
        set_logger_level(self.name, level)

    def get_effective_level(self) -> LoggingSeverity:
        return get_logger_effective_level(self.name)

    def is_enabled_for(self, severity: int) -> bool:
        return severity >= self.get_effective_level()

    def debug(self, message: str, **kwargs: Any) -> bool:
        return self.log(message, LoggingSeverity.DEBUG, _depth=2, **kwargs)

    def info(self, message: str, **kwargs: Any) -> bool:
        return self.log(message, LoggingSeverity.INFO, _depth=2, **kwargs)

    def warning(self, message: str, **kwargs: Any) -> bool:
        return self.log(message, LoggingSeverity.WARN, _depth=2, **kwargs)

    def warn(self, message: str, **kwargs: Any) -> bool:
        return self.log(message, LoggingSeverity.WARN, _depth=2, **kwargs)

    def error(self, message: str, **kwargs: Any) -> bool:
        return self.log(message, LoggingSeverity.ERROR, _depth=2, **kwargs)

    def fatal(self, message: str, **kwargs: Any) -> bool:
        return self.log(message, LoggingSeverity.FATAL, _depth=2, **kwargs)

    def log(
        self, message: str, severity: int, name: str | None = None, _depth: int = 1, **kwargs: Any
    ) -> bool:
        """Put out a message; whether it was (not filtered, throttled or skipped)."""
        severity = LoggingSeverity(severity)
        if not self.is_enabled_for(severity):
            return False
        frame = sys._getframe(_depth)
        if kwargs and not _passes_filters(frame, kwargs):
            return False
        _put_out(str(message), severity, name or self.name, frame)
        return True


def _passes_filters(frame: Any, options: dict[str, Any]) -> bool:
    """The filters of one call site. TypeError for an option that does not exist."""
    known = {"once", "skip_first", "throttle_duration_sec", "throttle_time_source_type"}
    if unknown := options.keys() - known:
        raise TypeError(f"Unexpected keyword argument(s): {sorted(unknown)}")
    with _LOCK:
        key = (frame.f_code.co_filename, frame.f_lineno)
        state = RcutilsLogger._contexts.setdefault(key, {})
        first = not state.setdefault("seen", False)
        state["seen"] = True
        if options.get("skip_first") and first:
            return False
        if options.get("once"):
            if state.get("once"):
                return False
            state["once"] = True
        duration = options.get("throttle_duration_sec")
        return duration is None or _throttle(state, float(duration), options)


def _throttle(state: dict[str, Any], duration_s: float, options: dict[str, Any]) -> bool:
    clock = options.get("throttle_time_source_type")
    now = time.monotonic() if clock is None else clock.now().nanoseconds / 1e9
    last = state.get("throttle")
    if last is not None and 0 <= now - last < duration_s:
        return False
    state["throttle"] = now
    return True


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
