"""Reads ``$(name argument ...)`` in texts such as parameter files."""

from __future__ import annotations

import re
from collections.abc import Callable

from launch.substitution import Substitution
from launch.substitutions import (
    AnonName,
    Command,
    EnvironmentVariable,
    FileContent,
    FindExecutable,
    LaunchConfiguration,
    LaunchLogDir,
    PythonExpression,
    SubstitutionFailure,
    TextSubstitution,
    ThisLaunchFileDir,
)

Part = list[Substitution]
_TOKEN = re.compile(r"\s+|'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")


def parse_substitution(text: str) -> Part:
    """The text as substitutions: ``a_$(var x)`` is the text ``a_`` and a launch configuration.

    Raises:
        SubstitutionFailure: a bracket is not closed or the name is not known.
    """
    parts: Part = []
    plain = ""
    position = 0
    while position < len(text):
        if text.startswith("\\$", position):
            plain, position = plain + "$", position + 2
        elif text.startswith("$(", position):
            parts += _text(plain)
            plain = ""
            substitution, position = _call(text, position + 2)
            parts.append(substitution)
        else:
            plain, position = plain + text[position], position + 1
    return parts + _text(plain)


def _call(text: str, start: int) -> tuple[Substitution, int]:
    """``name argument ...)``: the substitution and the place after its bracket."""
    arguments: list[Part] = [[]]
    position = start
    while position < len(text) and text[position] != ")":
        token = _TOKEN.match(text, position)
        if token and token.group().isspace():
            arguments.append([])
            position = token.end()
        elif token:
            inner = re.sub(r"\\(.)", r"\1", token.group()[1:-1])
            arguments[-1] += parse_substitution(inner) or [TextSubstitution(text="")]
            position = token.end()
        elif text.startswith("$(", position):
            substitution, position = _call(text, position + 2)
            arguments[-1].append(substitution)
        else:
            arguments[-1] += _text(text[position])
            position += 1
    if position == len(text):
        raise SubstitutionFailure(f"no closing bracket after '$({text[start : start + 40]}'")
    return _made([argument for argument in arguments if argument]), position + 1


def _made(arguments: list[Part]) -> Substitution:
    name = "".join(getattr(part, "text", "$") for part in arguments[0]) if arguments else ""
    if name not in _MAKERS:
        known = ", ".join(sorted(_MAKERS))
        raise SubstitutionFailure(f"unknown substitution '$({name} ...)': one of {known}")
    make, least, most = _MAKERS[name]
    values = arguments[1:]
    if not least <= len(values) <= most:
        raise SubstitutionFailure(
            f"'$({name} ...)': expected {least} to {most} arguments, got {len(values)}"
        )
    return make(*values)


def _text(text: str) -> Part:
    return [TextSubstitution(text=text)] if text else []


def _find_package_share(package: Part) -> Substitution:
    from launch_ros.substitutions import FindPackageShare

    return FindPackageShare(package)


def _environment(name: Part, default: Part | None = None) -> Substitution:
    return EnvironmentVariable(name, default_value=default)


def _configuration(name: Part, default: Part | None = None) -> Substitution:
    return LaunchConfiguration(name, default=default)


def _expression(*parts: Part) -> Substitution:
    return PythonExpression([piece for part in parts for piece in (*part, " ")])


_MAKERS: dict[str, tuple[Callable[..., Substitution], int, int]] = {
    "var": (_configuration, 1, 2),
    "env": (_environment, 1, 2),
    "optenv": (lambda name, default=(): _environment(name, list(default)), 1, 2),
    "dirname": (ThisLaunchFileDir, 0, 0),
    "find-pkg-share": (_find_package_share, 1, 1),
    "find-exec": (lambda name: FindExecutable(name=name), 1, 1),
    "anon": (AnonName, 1, 1),
    "eval": (_expression, 1, 64),
    "command": (lambda text, policy="fail": Command(text, on_stderr=policy), 1, 2),
    "file-content": (FileContent, 1, 1),
    "launch_log_dir": (LaunchLogDir, 0, 0),
    "log_dir": (LaunchLogDir, 0, 0),
}
