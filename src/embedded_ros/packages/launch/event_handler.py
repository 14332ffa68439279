"""The base of event handlers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from launch.event import Event
from launch.launch_context import LaunchContext
from launch.launch_description_entity import LaunchDescriptionEntity

Entities = LaunchDescriptionEntity | Iterable[LaunchDescriptionEntity]
Handling = Callable[[Event, LaunchContext], Entities | None]


class EventHandler:
    """Brings entities into the launch when a matching event comes.

    ``entities`` are what it brings, or a function of event and context that returns them.
    """

    def __init__(
        self,
        *,
        matcher: Callable[[Event], bool],
        entities: Entities | Handling | None = None,
        handle_once: bool = False,
    ) -> None:
        self._matcher = matcher
        self._entities = entities
        self._handle_once = handle_once

    @property
    def handle_once(self) -> bool:
        return self._handle_once

    def matches(self, event: Event) -> bool:
        return self._matcher(event)

    def describe(self) -> tuple[str, list[LaunchDescriptionEntity]]:
        return type(self).__name__, self.known_entities()

    def known_entities(self) -> list[LaunchDescriptionEntity]:
        """The entities, as far as they are known before the event."""
        return [] if callable(self._entities) else as_entities(self._entities)

    def handle(self, event: Event, context: LaunchContext) -> Sequence[LaunchDescriptionEntity]:
        """The entities to visit now."""
        context.extend_locals({"event": event})
        if self._handle_once:
            context.unregister_event_handler(self)
        if callable(self._entities):
            return as_entities(self._entities(event, context))
        return as_entities(self._entities)


def as_entities(value: Entities | None) -> list[LaunchDescriptionEntity]:
    """Nothing, one entity or many as a list.

    Raises:
        TypeError: something else was given.
    """
    if value is None:
        return []
    found = [value] if isinstance(value, LaunchDescriptionEntity) else value
    if isinstance(found, str) or not isinstance(found, Iterable):
        raise TypeError(f"expected a launch action or a list of them, got {value!r}")
    result = list(found)
    for item in result:
        if not isinstance(item, LaunchDescriptionEntity):
            raise TypeError(f"expected a launch action or a list of them, got {item!r} in a list")
    return result
