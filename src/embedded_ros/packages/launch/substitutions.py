"""The substitutions for launch files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from launch.launch_context import LaunchContext
from launch.substitution import (
    SomeSubstitutionsType,
    Substitution,
    SubstitutionFailure,
    TextSubstitution,
    text_of,
)
from launch.supported import names_of


class LaunchConfiguration(Substitution):
    """The value of a launch argument or configuration, or ``default`` if it is not set."""

    def __init__(self, variable_name: SomeSubstitutionsType, *, default: Any = None) -> None:
        self.variable_name = variable_name
        self.default = str(default) if isinstance(default, bool | int | float) else default

    def perform(self, context: LaunchContext) -> str:
        name = text_of(context, self.variable_name)
        if name in context.launch_configurations:
            return str(context.launch_configurations[name])
        if self.default is None:
            raise SubstitutionFailure(
                f"launch configuration {name!r} does not exist: declare it with "
                "DeclareLaunchArgument before it is used"
            )
        return text_of(context, self.default)


class EnvironmentVariable(Substitution):
    """The value of an environment variable, or ``default_value`` if it is not set."""

    def __init__(
        self, name: SomeSubstitutionsType, *, default_value: SomeSubstitutionsType | None = None
    ) -> None:
        self.name = name
        self.default_value = default_value

    def perform(self, context: LaunchContext) -> str:
        name = text_of(context, self.name)
        if name in context.environment:
            return context.environment[name]
        if self.default_value is None:
            raise SubstitutionFailure(f"environment variable {name!r} does not exist")
        return text_of(context, self.default_value)


class PathJoinSubstitution(Substitution):
    """A path made of components; each component may be a list of texts."""

    def __init__(self, substitutions: Iterable[SomeSubstitutionsType]) -> None:
        self.substitutions = list(substitutions)

    def perform(self, context: LaunchContext) -> str:
        return os.path.join(*[text_of(context, part) for part in self.substitutions])


class ThisLaunchFileDir(Substitution):
    """The folder of the launch file that contains the substitution."""

    def perform(self, context: LaunchContext) -> str:
        if context.launch_file is None:
            raise SubstitutionFailure("ThisLaunchFileDir: no launch file is being read")
        return str(context.launch_file.parent)


__all__ = [
    "EnvironmentVariable",
    "LaunchConfiguration",
    "PathJoinSubstitution",
    "SubstitutionFailure",
    "TextSubstitution",
    "ThisLaunchFileDir",
]
__getattr__ = names_of(__name__, __all__)
