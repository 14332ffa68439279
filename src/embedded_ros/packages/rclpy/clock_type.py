"""Clock types."""

from __future__ import annotations

from enum import IntEnum


class ClockType(IntEnum):
    """Clock types; ROS_TIME follows ``/clock`` if ``use_sim_time`` is set, else the system."""

    UNINITIALIZED = 0
    ROS_TIME = 1
    SYSTEM_TIME = 2
    STEADY_TIME = 3
