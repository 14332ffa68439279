"""The default context, and small helpers of rclpy."""

from __future__ import annotations

import sys
from typing import Any

from rclpy._default_context import KEPT, LOCK
from rclpy.context import Context


def get_default_context(*, shutting_down: bool = False) -> Context:
    """Return the default context; created on first use."""
    with LOCK:
        if not KEPT:
            KEPT.append(Context())
        return KEPT.pop() if shutting_down else KEPT[0]


def ok(*, context: Context | None = None) -> bool:
    """Return True if the context is initialised and not shut down."""
    return (context or get_default_context()).ok()


def shutdown(*, context: Context | None = None) -> None:
    """Shut the context down; raises RuntimeError if it is not running."""
    (context or get_default_context(shutting_down=True)).shutdown()


def try_shutdown(*, context: Context | None = None) -> None:
    """Shut the context down if it is running."""
    (context or get_default_context(shutting_down=True)).try_shutdown()


def remove_ros_args(args: list[str] | None = None) -> list[str]:
    """Return the arguments without the ROS part ``--ros-args ... [--]``."""
    kept, inside = [], False
    for argument in sys.argv if args is None else args:
        if argument == "--ros-args":
            inside = True
        elif inside and argument == "--":
            inside = False
        elif not inside:
            kept.append(argument)
    return kept


def get_rmw_implementation_identifier() -> str:
    return "rmw_cyclonedds_cpp"


def get_available_rmw_implementations() -> set[str]:
    return {"rmw_cyclonedds_cpp"}


def timeout_sec_to_nsec(timeout_sec: float | None) -> int:
    """Convert to nanoseconds; -1 means "forever" (None or negative)."""
    return -1 if timeout_sec is None or timeout_sec < 0 else int(timeout_sec * 1e9)


def get_message_type_name(msg_type: Any) -> str:
    """Return ``package/msg/Name`` of a message class.

    Raises:
        AttributeError: if it is not a message class.
    """
    name = getattr(msg_type, "TYPE_NAME", None)
    if not isinstance(name, str) or not name:
        raise AttributeError(f"expected a message or service class, got {msg_type!r}")
    return name
