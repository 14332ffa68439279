"""Actions that contain other actions: groups and included files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from launch.actions.settings import SetLaunchConfiguration
from launch.entities import Action, LaunchDescriptionEntity
from launch.launch_context import LaunchContext
from launch.launch_description_source import LaunchDescriptionSource
from launch.substitution import SomeSubstitutionsType, SubstitutionFailure, text_of


class _EndOfScope(Action):
    """Calls ``restore`` when it is visited, at the end of a scope."""

    def __init__(self, restore: Callable[[], None]) -> None:
        super().__init__()
        self._restore = restore

    def execute(self, context: LaunchContext) -> None:
        self._restore()


class GroupAction(Action):
    """A group of actions; configurations and environment are restored after it."""

    def __init__(self, actions: Iterable[LaunchDescriptionEntity], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.actions = list(actions)

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        return self.actions

    def execute(self, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        before = context.settings()
        return [*self.actions, _EndOfScope(lambda: context.restore(before))]


class IncludeLaunchDescription(Action):
    """Launches another launch file.

    Args:
        launch_description_source: the launch file.
        launch_arguments: pairs of name and value. As in ROS 2, they remain set after the file,
            unless the action is inside of a ``GroupAction``.
    """

    def __init__(
        self,
        launch_description_source: LaunchDescriptionSource,
        *,
        launch_arguments: Iterable[tuple[SomeSubstitutionsType, SomeSubstitutionsType]] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(launch_description_source, LaunchDescriptionSource):
            raise TypeError(
                "expected AnyLaunchDescriptionSource(path) or another source, got "
                f"{launch_description_source!r}"
            )
        self.launch_description_source = launch_description_source
        if isinstance(launch_arguments, Mapping):
            raise TypeError("expected launch_arguments as pairs, got a dict: add .items()")
        self.launch_arguments = [(name, value) for name, value in launch_arguments]

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        found = self.launch_description_source.try_get_launch_description_without_context()
        return [] if found is None else [found]

    def declared(self, conditional: bool) -> Iterator[tuple[Any, bool]]:
        # Arguments that the include sets itself cannot be set from outside.
        hidden = self._given_names()
        yield from (f for f in super().declared(conditional) if f[0].name not in hidden)

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
        before, context.launch_file = context.launch_file, Path(source.location).absolute()
        settings = [SetLaunchConfiguration(name, value) for name, value in given.items()]
        end = _EndOfScope(lambda: setattr(context, "launch_file", before))
        return [*settings, description, end]

    def _given_names(self) -> set[str]:
        """Return the names of its arguments, or nothing if they are not known before the launch."""
        try:
            return {text_of(LaunchContext(), name) for name, _ in self.launch_arguments}
        except SubstitutionFailure:
            return set()
