"""Actions that change launch configurations and the environment, and their scopes."""

from __future__ import annotations

from typing import Any

from launch.action import Action
from launch.launch_context import LaunchContext
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.utilities import text_of


class SetLaunchConfiguration(Action):
    """Sets a launch configuration."""

    def __init__(
        self, name: SomeSubstitutionsType, value: SomeSubstitutionsType, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.value = value

    def execute(self, context: LaunchContext) -> None:
        context.launch_configurations[text_of(context, self.name)] = text_of(context, self.value)


class UnsetLaunchConfiguration(Action):
    """Removes a launch configuration, if it is there."""

    def __init__(self, name: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.name = name

    def execute(self, context: LaunchContext) -> None:
        context.launch_configurations.pop(text_of(context, self.name), None)


class ResetLaunchConfigurations(Action):
    """Removes all launch configurations but those given."""

    def __init__(self, launch_configurations: dict | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.launch_configurations = launch_configurations or {}

    def execute(self, context: LaunchContext) -> None:
        kept = {
            text_of(context, name): text_of(context, value)
            for name, value in self.launch_configurations.items()
        }
        context.launch_configurations.clear()
        context.launch_configurations.update(kept)


class PushLaunchConfigurations(Action):
    """Begins a scope of launch configurations."""

    def execute(self, context: LaunchContext) -> None:
        context._push_launch_configurations()


class PopLaunchConfigurations(Action):
    """Ends the scope: the configurations are again what they were."""

    def execute(self, context: LaunchContext) -> None:
        context._pop_launch_configurations()


class SetEnvironmentVariable(Action):
    """Sets an environment variable for the processes started from now on."""

    def __init__(
        self, name: SomeSubstitutionsType, value: SomeSubstitutionsType, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.value = value

    def execute(self, context: LaunchContext) -> None:
        context.environment[text_of(context, self.name)] = text_of(context, self.value)


class AppendEnvironmentVariable(SetEnvironmentVariable):
    """Adds to a list in an environment variable, at its end or (``prepend``) its beginning."""

    def __init__(
        self,
        name: SomeSubstitutionsType,
        value: SomeSubstitutionsType,
        prepend: bool | SomeSubstitutionsType = False,
        separator: SomeSubstitutionsType = ":",
        **kwargs: Any,
    ) -> None:
        super().__init__(name, value, **kwargs)
        self.prepend = str(prepend) if isinstance(prepend, bool) else prepend
        self.separator = separator

    def execute(self, context: LaunchContext) -> None:
        from launch.conditions import evaluate_condition_expression

        name, value = text_of(context, self.name), text_of(context, self.value)
        present = context.environment.get(name)
        parts = [value] if present is None else [present, value]
        if evaluate_condition_expression(context, self.prepend):
            parts.reverse()
        context.environment[name] = text_of(context, self.separator).join(parts)


class UnsetEnvironmentVariable(Action):
    """Removes an environment variable, if it is there."""

    def __init__(self, name: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.name = name

    def execute(self, context: LaunchContext) -> None:
        context.environment.pop(text_of(context, self.name), None)


class PushEnvironment(Action):
    """Begins a scope of the environment."""

    def execute(self, context: LaunchContext) -> None:
        context._push_environment()


class PopEnvironment(Action):
    """Ends the scope: the environment is again what it was."""

    def execute(self, context: LaunchContext) -> None:
        context._pop_environment()


class ResetEnvironment(Action):
    """Makes the environment that of the launch's beginning."""

    def execute(self, context: LaunchContext) -> None:
        context._reset_environment()
