"""Texts that come of running something: a command, a Python expression."""

from __future__ import annotations

import importlib
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from typing import Any

from launch.launch_context import LaunchContext
from launch.logging import get_logger
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.substitution import Substitution
from launch.substitutions.substitution_failure import SubstitutionFailure
from launch.utilities import describe, normalize_to_list_of_substitutions, text_of


class FindExecutable(Substitution):
    """The path of an executable of the PATH."""

    def __init__(self, *, name: SomeSubstitutionsType) -> None:
        self.name = name

    def describe(self) -> str:
        return f"FindExec({describe(self.name)})"

    def perform(self, context: LaunchContext) -> str:
        name = text_of(context, self.name)
        path = shutil.which(name, path=context.environment.get("PATH"))
        if path is None:
            raise SubstitutionFailure(f"executable {name!r} not found on the PATH")
        return path


class PythonExpression(Substitution):
    """The value of a Python expression, evaluated with the names of some modules at hand."""

    def __init__(
        self,
        expression: SomeSubstitutionsType,
        python_modules: Iterable[SomeSubstitutionsType] = ("math",),
    ) -> None:
        self.expression = expression
        self.python_modules = (
            [python_modules] if isinstance(python_modules, str) else list(python_modules)
        )

    def describe(self) -> str:
        return f"PythonExpr({describe(self.expression)})"

    def perform(self, context: LaunchContext) -> str:
        expression = text_of(context, self.expression)
        names: dict[str, Any] = {}
        for entry in self.python_modules:
            name = text_of(context, entry)
            names[name] = importlib.import_module(name)
            if name == "math":
                names.update(vars(names[name]))
        try:
            # A launch file is a program of the user's own; so is its expression.
            return str(eval(expression, {}, names))
        except Exception as error:
            raise SubstitutionFailure(
                f"Python expression {expression!r} failed: {type(error).__name__}: {error}"
            ) from error


class Command(Substitution):
    """What a command prints. ``on_stderr``: fail, ignore, warn or capture what it complains of."""

    def __init__(
        self, command: SomeSubstitutionsType, *, on_stderr: SomeSubstitutionsType = "fail"
    ) -> None:
        self.command = normalize_to_list_of_substitutions(command)
        self.on_stderr = on_stderr

    def describe(self) -> str:
        return f"Command({describe(self.command)})"

    def perform(self, context: LaunchContext) -> str:
        text = text_of(context, self.command)
        policy = text_of(context, self.on_stderr)
        if policy not in ("fail", "ignore", "warn", "capture"):
            raise SubstitutionFailure(
                f"expected on_stderr to be fail, ignore, warn or capture, got {policy!r}"
            )
        merged = subprocess.STDOUT if policy == "capture" else subprocess.PIPE
        try:
            done = subprocess.run(
                shlex.split(text),
                stdout=subprocess.PIPE,
                stderr=merged,
                stdin=subprocess.DEVNULL,
                text=True,
                env=dict(context.environment),
            )
        except (OSError, ValueError) as error:
            raise SubstitutionFailure(f"command {text!r} cannot be run: {error}") from error
        if done.returncode != 0:
            raise SubstitutionFailure(
                f"command {text!r} failed with exit code {done.returncode}: {done.stderr or ''}"
            )
        if done.stderr and policy == "fail":
            raise SubstitutionFailure(f"command {text!r} wrote to stderr: {done.stderr}")
        if done.stderr and policy == "warn":
            get_logger().warning(f"command {text!r} wrote to stderr: {done.stderr}")
        return done.stdout
