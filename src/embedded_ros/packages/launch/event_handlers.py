"""Handlers of the end of processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from launch.entities import Action, Entities, LaunchDescriptionEntity, as_entities
from launch.launch_context import LaunchContext
from launch.supported import names_of


@dataclass(frozen=True)
class ProcessExited:
    """The event that a process has ended.

    Attributes:
        action: the action that started the process.
        process_name: label of the process in the output.
        cmd: program and arguments.
        pid: process id, 0 if it could not be started.
        returncode: exit code; negative, the number of the signal, if a signal ended it.
    """

    action: Action
    process_name: str
    cmd: Sequence[str]
    pid: int
    returncode: int


Handling = Callable[[ProcessExited, LaunchContext], Entities | None]


class OnProcessExit:
    """Launches further entities when a process has ended.

    Args:
        target_action: the action whose process is meant; None = any process.
        on_exit: the entities, or a function of event and context that returns them.
    """

    def __init__(
        self, *, target_action: Action | None = None, on_exit: Entities | Handling
    ) -> None:
        self._target = target_action
        self._on_exit = on_exit

    def known_entities(self) -> list[LaunchDescriptionEntity]:
        """Return the entities, as far as they are known before the event."""
        return [] if callable(self._on_exit) else as_entities(self._on_exit)

    def handle(self, event: ProcessExited, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        """Return the entities to visit now; [] if the event is of another process."""
        if self._target not in (None, event.action):
            return []
        brought = self._on_exit(event, context) if callable(self._on_exit) else self._on_exit
        return as_entities(brought)


__all__ = ["OnProcessExit"]
__getattr__ = names_of(__name__, __all__)
