"""The base of actions."""

from __future__ import annotations

from collections.abc import Sequence

from launch.condition import Condition
from launch.launch_context import LaunchContext
from launch.launch_description_entity import LaunchDescriptionEntity


class Action(LaunchDescriptionEntity):
    """An entity that does something, where its condition holds."""

    def __init__(self, *, condition: Condition | None = None) -> None:
        self._condition = condition

    @property
    def condition(self) -> Condition | None:
        return self._condition

    def describe(self) -> str:
        return f"Action({self!r})"

    def get_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        """What the action brings when it is executed, as far as known before."""
        return []

    def describe_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        return [] if self._condition else self.get_sub_entities()

    def describe_conditional_sub_entities(self):
        if self._condition is None:
            return []
        return [(self._condition.describe(), self.get_sub_entities())]

    def visit(self, context: LaunchContext) -> Sequence[LaunchDescriptionEntity] | None:
        if self._condition is None or self._condition.evaluate(context):
            return self.execute(context)
        return None

    def execute(self, context: LaunchContext) -> Sequence[LaunchDescriptionEntity] | None:
        """Do it; the entities to visit next, if any."""
        return None
