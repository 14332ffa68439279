"""What can happen in a launch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from launch.event import Event
from launch.events import process
from launch.events.process import matches_action


class Shutdown(Event):
    """The launch is to end: every process is asked to stop."""

    name = "launch.events.Shutdown"

    def __init__(self, *, reason: str = "reason not given", due_to_sigint: bool = False) -> None:
        self.reason = reason
        self.due_to_sigint = due_to_sigint


class IncludeLaunchDescription(Event):
    """A launch description is to be visited."""

    name = "launch.events.IncludeLaunchDescription"

    def __init__(self, launch_description: Any) -> None:
        self.launch_description = launch_description


class ExecutionComplete(Event):
    """An action with something to wait for has finished."""

    name = "launch.events.ExecutionComplete"

    def __init__(self, *, action: Any) -> None:
        self.action = action


class TimerEvent(Event):
    """The time of a TimerAction is over."""

    name = "launch.events.TimerEvent"

    def __init__(self, *, timer_action: Any) -> None:
        self.timer_action = timer_action


Matcher = Callable[[Any], bool]

__all__ = [
    "ExecutionComplete",
    "IncludeLaunchDescription",
    "Shutdown",
    "TimerEvent",
    "matches_action",
    "process",
]
