"""YAML as ROS 2 reads parameters: the scalars of rcl's parser, nested names joined by dots.

PyYAML's own rules would make ``1e-3`` a string, ``1:30`` the number 90 and ``2024-01-01`` a date.
"""

from __future__ import annotations

import re
from typing import IO, Any

import yaml

SEPARATOR = "."

_TRUE = ("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON")
_FALSE = ("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF")
_BOOL = re.compile("^(?:" + "|".join(_TRUE + _FALSE) + ")$")
_INT = re.compile(r"^[-+]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)$")
_FLOAT = re.compile(
    r"^[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+"
    r"|\.(?:inf|Inf|INF))$|^\.?(?:nan|NaN|NAN)$|^[-+]?inf$"
)
_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")


class ParameterLoader(yaml.SafeLoader):
    """SafeLoader with rcl's scalars: bool, integer, double, string."""

    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}


def _boolean(loader: ParameterLoader, node: yaml.ScalarNode) -> bool:
    return node.value in _TRUE


def _integer(loader: ParameterLoader, node: yaml.ScalarNode) -> int | float:
    text = node.value
    digits = text.lstrip("+-")
    base = 16 if digits[:2] in ("0x", "0X") else 8 if len(digits) > 1 and digits[0] == "0" else 10
    value = int(text, base)
    return value if -(2**63) <= value < 2**63 else float(value)


def _double(loader: ParameterLoader, node: yaml.ScalarNode) -> float:
    text = node.value.lower()
    return float(text.replace(".", "") if "inf" in text or "nan" in text else text)


for _tag, _pattern in (("bool", _BOOL), ("int", _INT), ("float", _FLOAT), ("null", _NULL)):
    ParameterLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, None)
ParameterLoader.add_constructor("tag:yaml.org,2002:bool", _boolean)
ParameterLoader.add_constructor("tag:yaml.org,2002:int", _integer)
ParameterLoader.add_constructor("tag:yaml.org,2002:float", _double)


def load_yaml(text: str | IO[str]) -> Any:
    """The content of a YAML text or open file, with scalars as rcl reads them.

    Whole numbers among decimals in a list count as decimals.

    Raises:
        yaml.YAMLError: the text is not YAML.
    """
    return _widened(yaml.load(text, ParameterLoader))


def _widened(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _widened(item) for key, item in value.items()}
    if isinstance(value, list) and {type(item) for item in value} == {int, float}:
        return [float(item) for item in value]
    return value


def value_from_text(text: str) -> Any:
    """The value that a text such as ``0.5``, ``[1, 2]`` or ``map`` has on a command line.

    What is not YAML, or is a mapping, stays a string.
    """
    try:
        value = load_yaml(text)
    except yaml.YAMLError:
        return text
    return text if isinstance(value, dict) or value is None else value


def flatten_parameters(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one of dotted names."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{SEPARATOR}{key}" if prefix else str(key)
        if isinstance(value, dict):
            flat.update(flatten_parameters(value, name))
        else:
            flat[name] = value
    return flat
