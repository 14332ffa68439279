"""Launch descriptions and their parts: entities, and the base class of actions."""

from __future__ import annotations

from asyncio import Task
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from launch.conditions import Condition
from launch.launch_context import LaunchContext
from launch.supported import refuse_arguments


class LaunchDescriptionEntity:
    """A part of a launch description; visiting it performs it and may yield further entities."""

    def visit(self, context: LaunchContext) -> Sequence[LaunchDescriptionEntity] | None:
        """Perform the entity; returns the entities to visit next, if any."""
        return None

    def describe_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        """Return the entities it contains, as far as they are known before the launch."""
        return []

    def describe_conditional_sub_entities(
        self,
    ) -> Sequence[tuple[str, Iterable[LaunchDescriptionEntity]]]:
        """Return the entities it contains under conditions, each list with its condition's name."""
        return []

    def get_asyncio_future(self) -> Task | None:
        """Return a task for which the launch has to wait before it ends, if any."""
        return None

    def declared(self, conditional: bool) -> Iterator[tuple[Any, bool]]:
        """Yield the launch arguments declared in it, each with whether there is a condition.

        Args:
            conditional: whether the entity itself is under a condition.
        """
        for entity in self.describe_sub_entities():
            yield from entity.declared(conditional)
        for _, entities in self.describe_conditional_sub_entities():
            for entity in entities:
                yield from entity.declared(True)


class Action(LaunchDescriptionEntity):
    """An entity that is executed when it is visited, if its condition holds.

    Args:
        condition: None = always.
    Raises:
        TypeError: on keyword arguments that the action does not have.
    """

    def __init__(self, *, condition: Condition | None = None, **unknown: Any) -> None:
        refuse_arguments(type(self), unknown)
        self.condition = condition

    def get_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        """Return the entities that execution will return, as far as they are known before."""
        return []

    def describe_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        return [] if self.condition else self.get_sub_entities()

    def describe_conditional_sub_entities(
        self,
    ) -> Sequence[tuple[str, Iterable[LaunchDescriptionEntity]]]:
        kind = type(self.condition).__name__
        return [(kind, self.get_sub_entities())] if self.condition else []

    def visit(self, context: LaunchContext) -> Sequence[LaunchDescriptionEntity] | None:
        if self.condition is None or self.condition.evaluate(context):
            return self.execute(context)
        return None

    def execute(self, context: LaunchContext) -> Sequence[LaunchDescriptionEntity] | None:
        """Execute the action; returns the entities to visit next, if any."""
        return None


class LaunchDescription(LaunchDescriptionEntity):
    """The entities of a launch file."""

    def __init__(self, initial_entities: Iterable[LaunchDescriptionEntity] | None = None) -> None:
        self.entities = list(initial_entities or [])

    def add_action(self, action: LaunchDescriptionEntity) -> None:
        """Append an entity."""
        self.entities.append(action)

    def visit(self, context: LaunchContext) -> Sequence[LaunchDescriptionEntity]:
        return self.entities

    def describe_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        return self.entities

    def get_launch_arguments(self, conditional_inclusion: bool = False) -> list[Any]:
        """Return the declared arguments that can be found without launching, each name once.

        Includes those of included files if the path is known before the launch, except for the
        arguments that the include sets itself.

        Args:
            conditional_inclusion: whether the description itself is under a condition.
        """
        found: dict[str, Any] = {}
        for argument, conditional in self.declared(conditional_inclusion):
            if argument.name not in found:
                argument._conditionally_included = conditional
                found[argument.name] = argument
        return list(found.values())


Entities = LaunchDescriptionEntity | Iterable[LaunchDescriptionEntity]


def as_entities(value: Entities | None) -> list[LaunchDescriptionEntity]:
    """Return no, one or several entities as a list.

    Raises:
        TypeError: if something else is given.
    """
    if value is None:
        return []
    found = list(value) if isinstance(value, Iterable) else [value]
    for item in found:
        if not isinstance(item, LaunchDescriptionEntity):
            raise TypeError(f"expected a launch action or a list of them, got {item!r}")
    return found


def visit(entity: LaunchDescriptionEntity, context: LaunchContext) -> None:
    """Visit an entity and all entities that it yields, depth first, and collect their tasks."""
    for brought in entity.visit(context) or ():
        visit(brought, context)
    task = entity.get_asyncio_future()
    if task is not None:
        context.tasks.add(task)
