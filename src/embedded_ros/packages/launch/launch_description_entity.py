"""The base of everything that stands in a launch description."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext


class LaunchDescriptionEntity:
    """Something that can be visited: it acts, and may bring more entities to visit."""

    def visit(self, context: LaunchContext) -> Sequence[LaunchDescriptionEntity] | None:
        """Act, and return what is to be visited next."""
        return None

    def describe(self) -> str:
        """The entity in words."""
        return repr(self)

    def describe_sub_entities(self) -> Sequence[LaunchDescriptionEntity]:
        """The entities it brings, as far as that is known before launching."""
        return []

    def describe_conditional_sub_entities(
        self,
    ) -> Sequence[tuple[str, Iterable[LaunchDescriptionEntity]]]:
        """The entities it may bring, each list with its condition in words."""
        return []

    def get_asyncio_future(self) -> Future | None:
        """What the launch has to wait for before it counts as finished."""
        return None
