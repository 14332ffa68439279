"""Parser of ROS arguments: ``--ros-args -r from:=to -p name:=value --params-file F``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rclpy._parameter_yaml import flatten_parameters, load_yaml, value_from_text
from rclpy._rclpy_pybind11 import RCLInvalidROSArgsError
from rclpy.parameter import Parameter

RULE = re.compile(
    r"(?:(?!rostopic://|rosservice://)(?P<node>[A-Za-z_][A-Za-z0-9_]*):)?"
    r"(?P<name>(?:rostopic://|rosservice://)?[^:=]+):=(?P<value>.*)",
    re.S,
)


@dataclass(frozen=True)
class Rule:
    """A rule ``[node:]name:=value``; ``node`` None = every node."""

    node: str | None
    name: str
    value: str

    def is_for(self, node_name: str) -> bool:
        return self.node is None or self.node == node_name


@dataclass
class Arguments:
    """The parsed arguments after ``--ros-args``."""

    remaps: list[Rule] = field(default_factory=list)
    # With files read, and resolved like in rcl: (node pattern, parameter name, value or None)
    parameters: list[tuple[str, str, Any]] = field(default_factory=list)
    log_levels: list[tuple[str | None, str]] = field(default_factory=list)
    rosout: bool = True
    stdout_logs: bool = True

    def merged_with(self, other: Arguments) -> Arguments:
        """Combine both so that ``self`` wins: first among remaps, last among parameters."""
        return Arguments(
            self.remaps + other.remaps,
            other.parameters + self.parameters,
            other.log_levels + self.log_levels,
            self.rosout and other.rosout,
            self.stdout_logs and other.stdout_logs,
        )

    def special(self, key: str, node_name: str) -> str | None:
        """Return the value of ``__node`` or ``__ns`` for a node, or None."""
        for rule in self.remaps:
            if rule.name == key and rule.is_for(node_name):
                return rule.value
        return None

    def parameters_for(self, full_node_name: str) -> dict[str, Any]:
        """Return the parameter values of ``/ns/node``; None for one without a value."""
        values = {}
        for pattern, name, value in self.parameters:
            if node_matches(pattern, full_node_name):
                values[name] = value
        return values


def node_matches(pattern: str, full_node_name: str) -> bool:
    """Return True if a pattern (``/**``, ``/*/node``, ``node``, ``/ns/node``) fits this node."""
    if pattern in ("/**", "**"):
        return True
    if not pattern.startswith("/"):
        pattern = "/" + pattern
    pieces = re.split(r"(/\*\*|\*)", pattern)
    regex = "".join(
        {"/**": "(?:/[^/]+)*", "*": "[^/]*"}.get(piece, re.escape(piece)) for piece in pieces
    )
    return re.fullmatch(regex, full_node_name) is not None


def parse_arguments(args: list[str] | None) -> Arguments:
    """Parse everything between ``--ros-args`` and ``--`` (or the end).

    Raises:
        RCLInvalidROSArgsError: if an argument is invalid; says what was expected.
    """
    result = Arguments()
    items = iter(_ros_items(args or []))
    try:
        for item in items:
            _read_one(result, item, items)
    except ValueError as error:
        raise RCLInvalidROSArgsError(str(error)) from error
    result.parameters = _settled(result.parameters)
    return result


def _settled(given: list[tuple[str, str, Any]]) -> list[tuple[str, str, Any]]:
    """Return one value per node pattern and name, in the order of the first use of each pattern.

    As in rcl's parser, a later value replaces an earlier one of the same type only; of several
    types, the first in the order of ``Parameter.Type`` remains. An empty list has no type: it
    replaces nothing, and on its own it is a parameter without value.
    """
    slots: dict[str, dict[str, dict[int, Any]]] = {}
    for pattern, name, value in given:
        slot = slots.setdefault(pattern, {}).setdefault(name, {})
        if value != []:
            slot[Parameter.Type.from_parameter_value(value).value] = value
    return [
        (pattern, name, slot[min(slot)] if slot else None)
        for pattern, names in slots.items()
        for name, slot in names.items()
    ]


def _ros_items(args: list[str]) -> list[str]:
    found, inside = [], False
    for argument in args:
        if argument == "--ros-args":
            inside = True
        elif argument == "--":
            inside = False
        elif inside:
            found.append(argument)
    return found


def _read_one(result: Arguments, item: str, items: Any) -> None:
    flags = {
        "--disable-rosout-logs": ("rosout", False),
        "--enable-rosout-logs": ("rosout", True),
        "--disable-stdout-logs": ("stdout_logs", False),
        "--enable-stdout-logs": ("stdout_logs", True),
    }
    if item in flags:
        setattr(result, *flags[item])
    elif item in ("--disable-external-lib-logs", "--enable-external-lib-logs"):
        pass
    elif ":=" in item and not item.startswith("-"):
        result.remaps.append(_rule(item, "--remap"))
    else:
        _read_option(result, item, next(items, None))


def _read_option(result: Arguments, option: str, value: str | None) -> None:
    known = "-r -p --remap --param --params-file --log-level --log-config-file -e --enclave"
    if option not in known.split():
        raise ValueError(f"unknown ROS argument {option!r}; expected one of {known}")
    if value is None:
        raise ValueError(f"{option}: a value is missing")
    if option in ("-r", "--remap"):
        result.remaps.append(_rule(value, option))
    elif option in ("-p", "--param"):
        rule = _rule(value, option)
        value = value_from_text(rule.value)
        result.parameters.append((rule.node or "/**", rule.name, value))
    elif option == "--params-file":
        result.parameters.extend(read_parameter_file(value))
    elif option == "--log-level":
        name, _, level = value.rpartition(":=")
        result.log_levels.append((name or None, level))


def _rule(text: str, option: str) -> Rule:
    match = RULE.fullmatch(text)
    if match is None:
        raise ValueError(f"{option}: expected [node:]name:=value, got {text!r}")
    return Rule(match["node"], match["name"], match["value"])


def read_parameter_file(path: str) -> list[tuple[str, str, Any]]:
    """Return ``[(node pattern, parameter, value)]`` of a ROS parameter file.

    Raises:
        ValueError: if the file cannot be read, or is not of the form node: ros__parameters: values.
    """
    try:
        content = load_yaml(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"--params-file {path}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"--params-file {path}: expected 'node: ros__parameters: ...'")
    found: list[tuple[str, str, Any]] = []
    _walk_nodes(content, "", found, path)
    return found


def _walk_nodes(content: dict, prefix: str, found: list, path: str) -> None:
    for key, value in content.items():
        if not isinstance(value, dict):
            raise ValueError(
                f"--params-file {path}: '{prefix}{key}' has a value where "
                "'ros__parameters:' or the name of a node was expected"
            )
        if key == "ros__parameters":
            pattern = prefix.rstrip("/") or "/**"
            found += [(pattern, name, item) for name, item in flatten_parameters(value).items()]
        else:
            inner = f"{prefix}{key}" if prefix or str(key).startswith("/") else f"/{key}"
            _walk_nodes(value, inner.rstrip("/") + "/", found, path)
