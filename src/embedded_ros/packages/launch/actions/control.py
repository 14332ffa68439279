"""Actions that call functions, register event handlers, and end the launch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from launch.entities import Action, Entities, LaunchDescriptionEntity, as_entities
from launch.event_handlers import OnProcessExit
from launch.launch_context import LaunchContext
from launch.substitution import SomeSubstitutionsType, text_of


class OpaqueFunction(Action):
    """Calls ``function(context)``, which may return entities to be launched."""

    def __init__(
        self, *, function: Callable[[LaunchContext], Entities | None], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not callable(function):
            raise TypeError(f"expected a function, got {function!r}")
        self.function = function

    def execute(self, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        return as_entities(self.function(context))


class RegisterEventHandler(Action):
    """Registers an event handler, in front of those already registered."""

    def __init__(self, event_handler: OnProcessExit, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(event_handler, OnProcessExit):
            raise TypeError(f"expected an event handler, got {event_handler!r}")
        self.event_handler = event_handler

    def describe_conditional_sub_entities(self) -> list[tuple[str, list[LaunchDescriptionEntity]]]:
        return [(type(self.event_handler).__name__, self.event_handler.known_entities())]

    def execute(self, context: LaunchContext) -> None:
        context.event_handlers.insert(0, self.event_handler)


class Shutdown(Action):
    """Stops all processes and ends the launch.

    Args:
        reason: text for the log.
    """

    def __init__(
        self, *, reason: SomeSubstitutionsType = "reason not given", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.reason = reason

    def execute(self, context: LaunchContext) -> None:
        context.shut_down(text_of(context, self.reason))
