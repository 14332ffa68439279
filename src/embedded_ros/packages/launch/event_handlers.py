"""What is done when a process ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from launch.entities import Action, Entities, LaunchDescriptionEntity, as_entities
from launch.launch_context import LaunchContext
from launch.supported import names_of


@dataclass(frozen=True)
class ProcessExited:
    """A process has ended. ``process_name`` is its label in the output, ``returncode`` is negative
    where a signal ended it."""

    action: Action
    process_name: str
    cmd: Sequence[str]
    pid: int
    returncode: int


Handling = Callable[[ProcessExited, LaunchContext], Entities | None]


class OnProcessExit:
    """Brings entities into the launch when a process has ended: that of an action, or any.

    ``on_exit`` are the entities, or a function of event and context that returns them.
    """

    def __init__(
        self, *, target_action: Action | None = None, on_exit: Entities | Handling
    ) -> None:
        self._target = target_action
        self._on_exit = on_exit

    def known_entities(self) -> list[LaunchDescriptionEntity]:
        """The entities, as far as they are known before the event."""
        return [] if callable(self._on_exit) else as_entities(self._on_exit)

    def handle(self, event: ProcessExited, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        """The entities to visit now, if it is this process that has ended."""
        if self._target not in (None, event.action):
            return []
        brought = self._on_exit(event, context) if callable(self._on_exit) else self._on_exit
        return as_entities(brought)


__all__ = ["OnProcessExit"]
__getattr__ = names_of(__name__, __all__)
