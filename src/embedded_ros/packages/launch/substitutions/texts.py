"""Texts, launch configurations, the environment, and joining them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from typing import Any

from launch.launch_context import LaunchContext
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.substitution import Substitution
from launch.substitutions.substitution_failure import SubstitutionFailure
from launch.utilities import describe, text_of


class TextSubstitution(Substitution):
    """The text itself."""

    def __init__(self, *, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"expected text, got {text!r} ({type(text).__name__})")
        self.text = text

    def describe(self) -> str:
        return f"'{self.text}'"

    def perform(self, context: LaunchContext) -> str:
        return self.text


class LaunchConfiguration(Substitution):
    """The value of a launch argument or configuration."""

    def __init__(self, variable_name: SomeSubstitutionsType, *, default: Any = None) -> None:
        self.variable_name = variable_name
        self.default = default

    def describe(self) -> str:
        return f"LaunchConfig({describe(self.variable_name)})"

    def perform(self, context: LaunchContext) -> str:
        name = text_of(context, self.variable_name)
        if name in context.launch_configurations:
            return str(context.launch_configurations[name])
        if self.default is None:
            raise SubstitutionFailure(
                f"launch configuration {name!r} does not exist: declare it with "
                "DeclareLaunchArgument before it is used"
            )
        if isinstance(self.default, bool | int | float):
            return str(self.default)
        return text_of(context, self.default)


class EnvironmentVariable(Substitution):
    """The value of an environment variable."""

    def __init__(
        self,
        name: SomeSubstitutionsType,
        *,
        default_value: SomeSubstitutionsType | None = None,
    ) -> None:
        self.name = name
        self.default_value = default_value

    def describe(self) -> str:
        return f"EnvVar({describe(self.name)})"

    def perform(self, context: LaunchContext) -> str:
        name = text_of(context, self.name)
        if name in context.environment:
            return context.environment[name]
        if self.default_value is None:
            raise SubstitutionFailure(f"environment variable {name!r} does not exist")
        return text_of(context, self.default_value)


class LocalSubstitution(Substitution):
    """A value of the entity that is being visited, e.g. ``event.returncode``."""

    def __init__(self, expression: str, description: str = "") -> None:
        self.expression = expression
        self.description = description

    def describe(self) -> str:
        return f"LocalVar({self.description or self.expression})"

    def perform(self, context: LaunchContext) -> str:
        value: Any = context.locals
        for name in self.expression.split("."):
            value = getattr(value, name)
        return str(value)


class AnonName(Substitution):
    """A name made unique by host and process, the same for the same name within a launch."""

    def __init__(self, name: SomeSubstitutionsType) -> None:
        self.name = name

    def perform(self, context: LaunchContext) -> str:
        host = "".join(c if c.isalnum() else "_" for c in socket.gethostname())
        return f"{text_of(context, self.name)}_{host}_{os.getpid()}"


class PathJoinSubstitution(Substitution):
    """Path components joined by the separator; each component may be a list of texts."""

    def __init__(self, substitutions: Iterable[SomeSubstitutionsType]) -> None:
        self.substitutions = list(substitutions)

    def describe(self) -> str:
        return f"PathJoin({', '.join(describe(part) for part in self.substitutions)})"

    def perform(self, context: LaunchContext) -> str:
        return os.path.join(*[text_of(context, part) for part in self.substitutions])

    def __truediv__(self, part: SomeSubstitutionsType) -> PathJoinSubstitution:
        return PathJoinSubstitution([*self.substitutions, part])


class PathSubstitution(PathJoinSubstitution):
    """A path that goes on with ``/``."""

    def __init__(self, path: SomeSubstitutionsType) -> None:
        super().__init__([path])


class StringJoinSubstitution(Substitution):
    """Texts joined by a delimiter."""

    def __init__(
        self,
        substitutions: Iterable[SomeSubstitutionsType],
        delimiter: SomeSubstitutionsType = "",
    ) -> None:
        self.substitutions = list(substitutions)
        self.delimiter = delimiter

    def describe(self) -> str:
        return f"StringJoin({', '.join(describe(part) for part in self.substitutions)})"

    def perform(self, context: LaunchContext) -> str:
        delimiter = text_of(context, self.delimiter)
        return delimiter.join(text_of(context, part) for part in self.substitutions)
