"""What a launch description consists of: entities, the base of actions, lists of both."""

from __future__ import annotations

from asyncio import Task
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from launch.conditions import Condition
from launch.launch_context import LaunchContext
from launch.supported import refuse_arguments


class LaunchDescriptionEntity:
    """Something that can be visited: it acts, and may bring more entities to visit."""

    def visit(self, context: LaunchContext) -> Sequence[LaunchDescriptionEntity] | None:
        """Act, and return what is to be visited next."""
        return None

    def describe_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        """The entities it brings, as far as that is known before launching."""
        return []

    def describe_conditional_sub_entities(
        self,
    ) -> Sequence[tuple[str, Iterable[LaunchDescriptionEntity]]]:
        """The entities it may bring, each list with its condition in words."""
        return []

    def get_asyncio_future(self) -> Task | None:
        """What the launch has to wait for before it counts as finished."""
        return None

    def declared(self, conditional: bool) -> Iterator[tuple[Any, bool]]:
        """The launch arguments in it, each with whether it is declared under a condition."""
        for entity in self.describe_sub_entities():
            yield from entity.declared(conditional)
        for _, entities in self.describe_conditional_sub_entities():
            for entity in entities:
                yield from entity.declared(True)


class Action(LaunchDescriptionEntity):
    """An entity that does something, where its condition holds."""

    def __init__(self, *, condition: Condition | None = None, **unknown: Any) -> None:
        refuse_arguments(type(self), unknown)
        self.condition = condition

    def get_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        """What the action brings when it is executed, as far as known before."""
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
        """Do it; the entities to visit next, if any."""
        return None


class LaunchDescription(LaunchDescriptionEntity):
    """The entities that a launch file brings."""

    def __init__(self, initial_entities: Iterable[LaunchDescriptionEntity] | None = None) -> None:
        self.entities = list(initial_entities or [])

    def add_action(self, action: LaunchDescriptionEntity) -> None:
        self.entities.append(action)

    def visit(self, context: LaunchContext) -> Sequence[LaunchDescriptionEntity]:
        return self.entities

    def describe_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        return self.entities

    def get_launch_arguments(self, conditional_inclusion: bool = False) -> list[Any]:
        """The arguments that can be found without launching, each name once.

        Those of included files count where the file's place is known before the launch, without
        those that the including file sets itself.
        """
        found: dict[str, Any] = {}
        for argument, conditional in self.declared(conditional_inclusion):
            if argument.name not in found:
                argument._conditionally_included = conditional
                found[argument.name] = argument
        return list(found.values())


Entities = LaunchDescriptionEntity | Iterable[LaunchDescriptionEntity]


def as_entities(value: Entities | None) -> list[LaunchDescriptionEntity]:
    """Nothing, one entity or many as a list.

    Raises:
        TypeError: something else was given.
    """
    if value is None:
        return []
    found = list(value) if isinstance(value, Iterable) else [value]
    for item in found:
        if not isinstance(item, LaunchDescriptionEntity):
            raise TypeError(f"expected a launch action or a list of them, got {item!r}")
    return found


def visit(entity: LaunchDescriptionEntity, context: LaunchContext) -> None:
    """Visit an entity and all that it brings, in order."""
    for brought in entity.visit(context) or ():
        visit(brought, context)
    task = entity.get_asyncio_future()
    if task is not None:
        context.tasks.add(task)
