"""Actions that emit, handle and log."""

from __future__ import annotations

from typing import Any

from launch.action import Action
from launch.event import Event
from launch.event_handler import EventHandler
from launch.events import Shutdown as ShutdownEvent
from launch.launch_context import LaunchContext
from launch.logging import get_logger
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.utilities import normalize_to_list_of_substitutions, text_of


class EmitEvent(Action):
    """Emits an event."""

    def __init__(self, *, event: Event, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(event, Event):
            raise TypeError(f"expected a launch event, got {event!r}")
        self.event = event

    def execute(self, context: LaunchContext) -> None:
        context.emit_event_sync(self.event)


class Shutdown(EmitEvent):
    """Ends the launch."""

    def __init__(
        self, *, reason: SomeSubstitutionsType = "reason not given", **kwargs: Any
    ) -> None:
        super().__init__(event=ShutdownEvent(), **kwargs)
        self.reason = reason

    def execute(self, context: LaunchContext) -> None:
        values = context.get_locals_as_dict()
        exited = getattr(values.get("event"), "process_name", None)
        reason = text_of(context, self.reason)
        if exited and self.reason == "reason not given":
            reason = f"process {exited} ended"
        context.emit_event_sync(ShutdownEvent(reason=reason))


class RegisterEventHandler(Action):
    """Puts an event handler in place."""

    def __init__(self, event_handler: EventHandler, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(event_handler, EventHandler):
            raise TypeError(f"expected an event handler, got {event_handler!r}")
        self.event_handler = event_handler

    def describe_conditional_sub_entities(self):
        return [(type(self.event_handler).__name__, self.event_handler.known_entities())]

    def execute(self, context: LaunchContext) -> None:
        context.register_event_handler(self.event_handler)


class UnregisterEventHandler(Action):
    """Takes an event handler away."""

    def __init__(self, event_handler: EventHandler, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.event_handler = event_handler

    def execute(self, context: LaunchContext) -> None:
        context.unregister_event_handler(self.event_handler)


class Log(Action):
    """Logs a message at a level (DEBUG, INFO, WARNING, ERROR)."""

    def __init__(
        self, *, msg: SomeSubstitutionsType, level: SomeSubstitutionsType, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.msg = normalize_to_list_of_substitutions(msg)
        self.level = level

    def execute(self, context: LaunchContext) -> None:
        level = text_of(context, self.level).upper()
        known = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "WARN": 30, "ERROR": 40}
        if level not in known:
            raise ValueError(f"expected a level of {', '.join(known)}, got {level!r}")
        get_logger("launch.user").log(known[level], text_of(context, self.msg))


class LogInfo(Log):
    """Logs a message."""

    def __init__(self, *, msg: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(msg=msg, level="INFO", **kwargs)


class LogWarning(Log):
    """Logs a warning."""

    def __init__(self, *, msg: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(msg=msg, level="WARNING", **kwargs)


class LogError(Log):
    """Logs an error."""

    def __init__(self, *, msg: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(msg=msg, level="ERROR", **kwargs)
