"""Parsing of ``$(name argument ...)`` in parameter files and in XML and YAML launch files."""

from __future__ import annotations

import re
from collections.abc import Callable

from launch.substitution import Substitution, SubstitutionFailure, TextSubstitution
from launch.substitutions import (
    EnvironmentVariable,
    LaunchConfiguration,
    ThisLaunchFileDir,
)

from launch_ros.substitutions import FindPackageShare

Part = list[Substitution]
_PLAIN = re.compile(r"(?:\\\$|(?!\$\().)+", re.DOTALL)
_INSIDE = re.compile(
    r"(?P<call>\$\()|(?P<end>\))|(?P<space>\s+)|'(?P<single>(?:[^'\\]|\\.)*)'"
    r"|\"(?P<double>(?:[^\"\\]|\\.)*)\"|(?P<text>[^$)\s'\"]+|.)",
    re.DOTALL,
)


def parse_substitution(text: str) -> Part:
    """Return a text as substitutions: ``a_$(var x)`` is the text ``a_`` and a launch configuration.

    Raises:
        SubstitutionFailure: if a bracket is not closed, a name is not known, or it has the wrong
            number of arguments.
    """
    parts: Part = []
    position = 0
    while position < len(text):
        if plain := _PLAIN.match(text, position):
            parts.append(TextSubstitution(text=plain.group().replace("\\$", "$")))
            position = plain.end()
        else:
            substitution, position = _call(text, position + len("$("))
            parts.append(substitution)
    return parts


def _call(text: str, start: int) -> tuple[Substitution, int]:
    """Parse ``name argument ...)``; returns the substitution and the position after its bracket."""
    arguments: list[Part] = [[]]
    position = start
    while token := _INSIDE.match(text, position):
        position = token.end()
        if token["end"]:
            return _made([argument for argument in arguments if argument]), position
        if token["call"]:
            substitution, position = _call(text, position)
            arguments[-1].append(substitution)
        elif token["space"]:
            arguments.append([])
        elif token["text"]:
            arguments[-1].append(TextSubstitution(text=token["text"]))
        else:
            inner = re.sub(r"\\(.)", r"\1", token["single"] or token["double"] or "")
            arguments[-1] += parse_substitution(inner) or [TextSubstitution(text="")]
    raise SubstitutionFailure(f"no closing bracket after '$({text[start : start + 40]}'")


def _made(arguments: list[Part]) -> Substitution:
    name = "".join(getattr(part, "text", "$") for part in arguments[0]) if arguments else ""
    if name not in _MAKERS:
        known = ", ".join(_MAKERS)
        raise SubstitutionFailure(f"no substitution '$({name} ...)' without ROS 2; one of {known}")
    make, least, most = _MAKERS[name]
    if not least <= len(arguments) - 1 <= most:
        raise SubstitutionFailure(
            f"'$({name} ...)': expected {least} to {most} arguments, got {len(arguments) - 1}"
        )
    return make(*arguments[1:])


_MAKERS: dict[str, tuple[Callable[..., Substitution], int, int]] = {
    "var": (lambda name, default=None: LaunchConfiguration(name, default=default), 1, 2),
    "env": (lambda name, default=None: EnvironmentVariable(name, default_value=default), 1, 2),
    "dirname": (ThisLaunchFileDir, 0, 0),
    "find-pkg-share": (FindPackageShare, 1, 1),
}
