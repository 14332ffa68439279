"""Handlers of the usual events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from launch.action import Action
from launch.event import Event
from launch.event_handler import Entities, EventHandler, Handling, as_entities
from launch.events import ExecutionComplete, Shutdown
from launch.events.process import ProcessExited, ProcessIO, ProcessStarted
from launch.launch_context import LaunchContext

Target = Action | Callable[[Action], bool] | None
SomeHandling = Entities | Handling | None


class OnActionEvent(EventHandler):
    """Handles one kind of event, of one action, of those a function holds for, or of all."""

    def __init__(
        self,
        kind: type[Event],
        target_action: Target,
        entities: SomeHandling,
        handle_once: bool = False,
    ) -> None:
        if entities is None:
            raise ValueError(f"{type(self).__name__}: expected what to do, got None")
        super().__init__(matcher=self._concerns, entities=entities, handle_once=handle_once)
        self._kind = kind
        self._target = target_action

    def _concerns(self, event: Event) -> bool:
        if not isinstance(event, self._kind):
            return False
        if self._target is None or isinstance(self._target, Action):
            return self._target is None or event.action is self._target
        return bool(self._target(event.action))


class OnProcessStart(OnActionEvent):
    """When a process has started."""

    def __init__(
        self, *, target_action: Target = None, on_start: SomeHandling, handle_once: bool = False
    ) -> None:
        super().__init__(ProcessStarted, target_action, on_start, handle_once)


class OnProcessExit(OnActionEvent):
    """When a process has ended."""

    def __init__(
        self, *, target_action: Target = None, on_exit: SomeHandling, handle_once: bool = False
    ) -> None:
        super().__init__(ProcessExited, target_action, on_exit, handle_once)


class OnExecutionComplete(OnActionEvent):
    """When an action has finished: a process, a timer."""

    def __init__(
        self,
        *,
        target_action: Target = None,
        on_completion: SomeHandling,
        handle_once: bool = False,
    ) -> None:
        super().__init__(ExecutionComplete, target_action, on_completion, handle_once)


class OnProcessIO(OnActionEvent):
    """When a process has written something; the functions get the event with ``text``."""

    def __init__(
        self,
        *,
        target_action: Target = None,
        on_stdin: Callable[[ProcessIO], Any] | None = None,
        on_stdout: Callable[[ProcessIO], Any] | None = None,
        on_stderr: Callable[[ProcessIO], Any] | None = None,
    ) -> None:
        super().__init__(ProcessIO, target_action, self._dispatch)
        self._functions = {0: on_stdin, 1: on_stdout, 2: on_stderr}

    def _dispatch(self, event: ProcessIO, context: LaunchContext) -> Entities | None:
        function = self._functions[event.fd]
        return function(event) if function else None


class OnShutdown(EventHandler):
    """When the launch ends."""

    def __init__(self, *, on_shutdown: SomeHandling, handle_once: bool = False) -> None:
        super().__init__(
            matcher=lambda event: isinstance(event, Shutdown),
            entities=on_shutdown,
            handle_once=handle_once,
        )


__all__ = [
    "OnExecutionComplete",
    "OnProcessExit",
    "OnProcessIO",
    "OnProcessStart",
    "OnShutdown",
    "as_entities",
]
