"""Reads the stamp of a message."""

from __future__ import annotations

from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.logging import get_logger
from rclpy.time import Time

HEADERLESS = (
    "can not use message filters for messages without timestamp information when "
    "'allow_headerless' is disabled. auto assign ROSTIME to headerless messages once enabling "
    "constructor option of 'allow_headerless'."
)


def stamp_of(msg: Any, allow_headerless: bool, logger_name: str) -> Time | None:
    """Return the header's stamp; without a header the current time, or None with a warning."""
    stamp = getattr(getattr(msg, "header", None), "stamp", None)
    if stamp is not None:
        return stamp if hasattr(stamp, "nanoseconds") else Time.from_msg(stamp)
    if allow_headerless:
        return Clock(clock_type=ClockType.ROS_TIME).now()
    get_logger(logger_name).warning(HEADERLESS)
    return None
