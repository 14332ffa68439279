"""Actions that set launch configurations and environment variables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from launch.entities import Action
from launch.launch_context import LaunchContext
from launch.substitution import (
    SomeSubstitutionsType,
    normalize_to_list_of_substitutions,
    text_of,
)


class _Setting(Action):
    def __init__(
        self, name: SomeSubstitutionsType, value: SomeSubstitutionsType, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.value = value


class SetLaunchConfiguration(_Setting):
    """Sets a launch configuration."""

    def execute(self, context: LaunchContext) -> None:
        context.launch_configurations[text_of(context, self.name)] = text_of(context, self.value)


class SetEnvironmentVariable(_Setting):
    """Sets an environment variable for processes that are started later."""

    def execute(self, context: LaunchContext) -> None:
        context.environment[text_of(context, self.name)] = text_of(context, self.value)


class DeclareLaunchArgument(Action):
    """Declares a launch argument: sets its default if it has no value, and checks the value.

    Args:
        name: name of the argument and of the launch configuration.
        default_value: None = a value is required.
        description: text for ``--show-args`` and errors.
        choices: allowed values; None = any.
    """

    def __init__(
        self,
        name: str,
        *,
        default_value: SomeSubstitutionsType | None = None,
        description: str | None = None,
        choices: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.choices = None if choices is None else list(choices)
        self.description = _described(description, self.choices)
        self.default_value = (
            None if default_value is None else normalize_to_list_of_substitutions(default_value)
        )
        self._conditionally_included = False

    def declared(self, conditional: bool) -> Iterator[tuple[Any, bool]]:
        yield self, conditional or self.condition is not None

    def execute(self, context: LaunchContext) -> None:
        """Set the default and check the value.

        Raises:
            RuntimeError: if a required value is missing, or it is not one of the choices.
        """
        configurations = context.launch_configurations
        if self.name not in configurations:
            if self.default_value is None:
                raise RuntimeError(
                    f"required launch argument {self.name!r} ({self.description}) was not "
                    f"provided: add {self.name}:=<value>"
                )
            configurations[self.name] = text_of(context, self.default_value)
        value = configurations[self.name]
        if self.choices is not None and value not in self.choices:
            raise RuntimeError(
                f"launch argument {self.name!r}: expected one of {', '.join(self.choices)}, "
                f"got {value!r}"
            )


def _described(description: str | None, choices: list[str] | None) -> str:
    if choices is None:
        return description or "no description given"
    if description is None:
        return f"One of: {choices}"
    return f"{description.removesuffix('.')}. Valid choices are: {choices}"
