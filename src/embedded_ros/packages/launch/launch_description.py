"""A list of what to launch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from launch.actions.declare_launch_argument import DeclareLaunchArgument
from launch.actions.grouping import IncludeLaunchDescription
from launch.launch_context import LaunchContext
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.logging import get_logger


class LaunchDescription(LaunchDescriptionEntity):
    """The entities that a launch file brings."""

    def __init__(
        self,
        initial_entities: Iterable[LaunchDescriptionEntity] | None = None,
        *,
        deprecated_reason: str | None = None,
    ) -> None:
        self.entities = list(initial_entities or [])
        self.deprecated_reason = deprecated_reason

    @property
    def deprecated(self) -> bool:
        return self.deprecated_reason is not None

    def add_entity(self, entity: LaunchDescriptionEntity) -> None:
        self.entities.append(entity)

    def add_action(self, action: LaunchDescriptionEntity) -> None:
        self.add_entity(action)

    def visit(self, context: LaunchContext) -> Sequence[LaunchDescriptionEntity]:
        if self.deprecated:
            get_logger().warning(f"this launch description is deprecated: {self.deprecated_reason}")
        return self.entities

    def describe_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        return self.entities

    def get_launch_arguments(
        self, conditional_inclusion: bool = False
    ) -> list[DeclareLaunchArgument]:
        """The arguments that can be found without launching, each name once.

        Those of included files count where the file's place is known before the launch, without
        those that the including file sets itself.
        """
        found: dict[str, DeclareLaunchArgument] = {}
        for argument, conditional in _declared(self.entities, conditional_inclusion):
            if argument.name not in found:
                argument._conditionally_included = conditional
                found[argument.name] = argument
        return list(found.values())


def _declared(
    entities: Iterable[LaunchDescriptionEntity], conditional: bool
) -> Iterator[tuple[DeclareLaunchArgument, bool]]:
    for entity in entities:
        if isinstance(entity, DeclareLaunchArgument):
            yield entity, conditional or entity.condition is not None
            continue
        # What an include sets itself cannot be set from outside.
        hidden = entity.given_names() if isinstance(entity, IncludeLaunchDescription) else ()
        below = list(_declared(entity.describe_sub_entities(), conditional))
        for _, sub_entities in entity.describe_conditional_sub_entities():
            below += _declared(sub_entities, True)
        yield from (found for found in below if found[0].name not in hidden)
