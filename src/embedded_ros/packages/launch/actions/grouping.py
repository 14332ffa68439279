"""Actions that bring other actions: groups, included files, functions, timers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from launch.action import Action
from launch.actions.configuration import (
    PopEnvironment,
    PopLaunchConfigurations,
    PushEnvironment,
    PushLaunchConfigurations,
    ResetEnvironment,
    ResetLaunchConfigurations,
    SetLaunchConfiguration,
)
from launch.event_handler import Entities, EventHandler, as_entities
from launch.events import Shutdown as ShutdownEvent
from launch.events import TimerEvent
from launch.launch_context import LaunchContext
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.launch_description_source import LaunchDescriptionSource
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.substitutions import SubstitutionFailure
from launch.utilities import text_of
from launch.utilities.type_utils import get_typed_value


class GroupAction(Action):
    """Several actions as one; changes of configurations and environment stay inside it."""

    def __init__(
        self,
        actions: Iterable[LaunchDescriptionEntity],
        *,
        scoped: bool = True,
        forwarding: bool = True,
        launch_configurations: dict[str, SomeSubstitutionsType] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.actions = list(actions)
        self.scoped = scoped
        self.forwarding = forwarding
        self.launch_configurations = launch_configurations or {}

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        settings = self.launch_configurations
        begin: list[Action] = [SetLaunchConfiguration(*item) for item in settings.items()]
        if not self.scoped:
            return [*begin, *self.actions]
        if not self.forwarding:
            begin = [ResetEnvironment(), ResetLaunchConfigurations(settings)]
        return [
            PushLaunchConfigurations(),
            PushEnvironment(),
            *begin,
            *self.actions,
            PopEnvironment(),
            PopLaunchConfigurations(),
        ]

    def execute(self, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        return self.get_sub_entities()


class IncludeLaunchDescription(Action):
    """Launches another launch file, with arguments as pairs of name and value."""

    def __init__(
        self,
        launch_description_source: LaunchDescriptionSource | SomeSubstitutionsType,
        *,
        launch_arguments: Iterable[tuple[SomeSubstitutionsType, SomeSubstitutionsType]] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(launch_description_source, LaunchDescriptionSource):
            from launch.launch_description_sources import AnyLaunchDescriptionSource

            launch_description_source = AnyLaunchDescriptionSource(launch_description_source)
        self.launch_description_source = launch_description_source
        self.launch_arguments = _pairs(launch_arguments)

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        found = self.launch_description_source.try_get_launch_description_without_context()
        return [] if found is None else [found]

    def given_names(self) -> set[str]:
        """The names of its arguments, as far as they are known before the launch."""
        names = set()
        for name, _ in self.launch_arguments:
            with contextlib.suppress(SubstitutionFailure):
                names.add(text_of(LaunchContext(), name))
        return names

    def execute(self, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        source = self.launch_description_source
        description = source.get_launch_description(context)
        given = {text_of(context, name): value for name, value in self.launch_arguments}
        for argument in description.get_launch_arguments():
            missing = argument.default_value is None and not argument._conditionally_included
            if missing and argument.name not in given | context.launch_configurations:
                raise RuntimeError(
                    f"{source.location} needs the launch argument {argument.name!r} "
                    f"({argument.description}), given were: {', '.join(given) or 'none'}"
                )
        path = Path(source.location).absolute()
        place = {
            "current_launch_file_path": str(path),
            "current_launch_file_directory": str(path.parent),
        }
        context._push_locals()
        context.extend_locals(place if path.is_file() else {})
        settings = [SetLaunchConfiguration(name, value) for name, value in given.items()]
        return [*settings, description, _PopLocals()]


class _PopLocals(Action):
    def execute(self, context: LaunchContext) -> None:
        context._pop_locals()


class OpaqueFunction(Action):
    """Calls ``function(context, *args, **kwargs)``, which may return actions."""

    def __init__(
        self,
        *,
        function: Callable[..., Entities | None],
        args: Iterable[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        **left_over: Any,
    ) -> None:
        super().__init__(**left_over)
        if not callable(function):
            raise TypeError(f"expected a function, got {function!r}")
        self.function = function
        self.args = list(args or [])
        self.kwargs = dict(kwargs or {})
        self._task: asyncio.Task | None = None

    def execute(self, context: LaunchContext) -> Sequence[LaunchDescriptionEntity] | None:
        result = self.function(context, *self.args, **self.kwargs)
        if asyncio.iscoroutine(result):
            assert context.asyncio_loop is not None
            self._task = context.asyncio_loop.create_task(result)
            return None
        return as_entities(result)

    def get_asyncio_future(self) -> asyncio.Future | None:
        return self._task


class TimerAction(Action):
    """Executes actions after a while (``period`` in seconds), unless it is cancelled."""

    def __init__(
        self,
        *,
        period: float | SomeSubstitutionsType,
        actions: Iterable[LaunchDescriptionEntity],
        cancel_on_shutdown: bool | SomeSubstitutionsType = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.period = period
        self.actions = list(actions)
        self.cancel_on_shutdown = cancel_on_shutdown
        self._future: asyncio.Future | None = None

    def describe_conditional_sub_entities(self):
        return [(f"after {self.period} s", self.actions)]

    def execute(self, context: LaunchContext) -> None:
        loop = context.asyncio_loop
        assert loop is not None
        future = self._future = loop.create_future()
        delay = self.period
        if not isinstance(delay, int | float):
            delay = get_typed_value(text_of(context, delay), float)
        handle = loop.call_later(delay, self._elapsed, context)
        future.add_done_callback(lambda _: handle.cancel())
        context.register_event_handler(
            EventHandler(matcher=self._is_mine, entities=self.actions, handle_once=True)
        )
        cancels = self.cancel_on_shutdown
        if not isinstance(cancels, bool):
            cancels = get_typed_value(text_of(context, cancels), bool)
        if cancels:
            context.register_event_handler(
                EventHandler(
                    matcher=lambda event: isinstance(event, ShutdownEvent),
                    entities=lambda event, context: self.cancel(),
                )
            )

    def cancel(self) -> None:
        """Execute nothing any more."""
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def get_asyncio_future(self) -> asyncio.Future | None:
        return self._future

    def _elapsed(self, context: LaunchContext) -> None:
        if self._future is not None and not self._future.done():
            context.emit_event_sync(TimerEvent(timer_action=self))
            self._future.set_result(None)

    def _is_mine(self, event: Any) -> bool:
        return isinstance(event, TimerEvent) and event.timer_action is self


def _pairs(arguments: Iterable) -> list[tuple]:
    if isinstance(arguments, dict):
        raise TypeError("expected launch_arguments as pairs, got a dict: add .items()")
    result = [tuple(argument) for argument in arguments]
    for pair in result:
        if len(pair) != 2:
            raise TypeError(f"expected launch_arguments as pairs of name and value, got {pair!r}")
    return result
