"""Reads parameter YAML like ROS 2: rcl's scalar types, nested names joined by dots.

PyYAML's rules would make ``1e-3`` a string, ``1:30`` the number 90 and ``2024-01-01`` a date.
"""

from __future__ import annotations

import re
from typing import IO, Any

import yaml

SEPARATOR = "."

TRUE = ("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON")
FALSE = ("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF")
INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
DOUBLE = re.compile(
    r"[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF)|inf(?:inity)?|nan)"
    r"|\.(?:nan|NaN|NAN)"
)
QUOTES = ("'", '"')


class ParameterLoader(yaml.SafeLoader):
    """SafeLoader with rcl's scalar types: bool, integer, double, string; keys are strings."""

    yaml_implicit_resolvers: dict[str | None, list] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        return {
            self.construct_scalar(key): self.construct_object(value, deep=True)
            for key, value in node.value
        }

    def construct_sequence(self, node: yaml.SequenceNode, deep: bool = False) -> list[Any]:
        values = [self.construct_object(item, deep=True) for item in node.value]
        if len({type(value) for value in values}) > 1:
            raise yaml.constructor.ConstructorError(
                "while reading a list", node.start_mark, f"its elements differ in type: {values}"
            )
        return values


def _scalar(loader: ParameterLoader, node: yaml.ScalarNode) -> bool | int | float | str:
    text = node.value
    if node.style in QUOTES or node.tag != _PLAIN:
        return text
    if not text:
        raise yaml.constructor.ConstructorError(None, None, "a value is missing", node.start_mark)
    if text in TRUE or text in FALSE:
        return text in TRUE
    if INTEGER.fullmatch(text) and -(2**63) <= (value := _integer(text)) < 2**63:
        return value
    if DOUBLE.fullmatch(text) or INTEGER.fullmatch(text):
        return float(re.sub(r"\.(?=[a-zA-Z])", "", text))
    return text


def _integer(text: str) -> int:
    digits = text.lstrip("+-")
    base = 16 if digits[:2] in ("0x", "0X") else 8 if len(digits) > 1 and digits[0] == "0" else 10
    return int(text, base)


_PLAIN = "tag:yaml.org,2002:plain"  # for scalars without an explicit tag
ParameterLoader.DEFAULT_SCALAR_TAG = _PLAIN
ParameterLoader.add_constructor(_PLAIN, _scalar)


def load_yaml(text: str | IO[str]) -> Any:
    """Load a YAML text or open file, with scalars as rcl reads them.

    Raises:
        yaml.YAMLError: if it is not YAML, a value is missing or a list has mixed types.
    """
    return yaml.load(text, ParameterLoader)


def value_from_text(text: str) -> Any:
    """Parse a command line value such as ``0.5``, ``[1, 2]`` or ``map``.

    Raises:
        ValueError: if it is not YAML, empty or a mapping.
    """
    try:
        value = load_yaml(text)
    except yaml.YAMLError as error:
        raise ValueError(f"not a parameter's value: {text!r}: {error}") from error
    if value is None or isinstance(value, dict):
        raise ValueError(f"expected a value or a list, got {text!r}; quotes make it a text")
    return value


def flatten_parameters(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to one with dotted names."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{SEPARATOR}{key}" if prefix else key
        if isinstance(value, dict):
            flat.update(flatten_parameters(value, name))
        else:
            flat[name] = value
    return flat
