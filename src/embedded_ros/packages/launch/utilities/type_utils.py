"""Texts as typed values, by YAML's rules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, get_args, get_origin

import yaml

from launch.substitution import Substitution
from launch.utilities import text_of

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext

# PyYAML takes 1e-3 for text; ROS 2's own parser does not.
_EXPONENT = re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
SCALARS = (bool, int, float, str)


def get_typed_value(text: str, data_type: Any = None) -> Any:
    """The text as ``bool``, ``int``, ``float``, ``str`` or a list of one of these.

    ``data_type`` None leaves the choice to YAML.

    Raises:
        ValueError: the text is not of that type, or is a mapping.
    """
    if data_type is None:
        return _guessed(text)
    if data_type is str:
        return text
    value = _guessed(text)
    if get_origin(data_type) is list or data_type is list:
        (kind,) = get_args(data_type) or (None,)
        if not isinstance(value, list):
            raise _wrong(text, data_type)
        return [_cast(item, kind, text) for item in value] if kind else value
    return _cast(value, data_type, text)


def perform_typed_substitution(context: LaunchContext, value: Any, data_type: Any = None) -> Any:
    """A value given as itself or by substitutions, of the type asked for."""
    if isinstance(value, Substitution) or _has_substitution(value):
        return get_typed_value(text_of(context, value), data_type)
    if isinstance(value, str):
        return value if data_type in (None, str) else get_typed_value(value, data_type)
    if data_type in SCALARS:
        return _cast(value, data_type, value)
    return uniform(list(value)) if isinstance(value, list | tuple) else value


def uniform(values: list) -> list:
    """The values of a list, whole numbers among decimals as decimals.

    Raises:
        ValueError: they are not all of one of the types that a parameter can be.
    """
    kinds = {type(value) for value in values}
    if kinds == {int, float}:
        return [float(value) for value in values]
    if len(kinds) > 1 or not kinds <= set(SCALARS):
        raise ValueError(f"expected a list of only bool, int, float or str, got {values!r}")
    return values


def _has_substitution(value: Any) -> bool:
    return isinstance(value, list | tuple) and any(isinstance(v, Substitution) for v in value)


def _guessed(text: str) -> Any:
    if _EXPONENT.match(text.strip()):
        return float(text)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, list):
        return uniform([_exponent(item) for item in value])
    if isinstance(value, dict):
        raise ValueError(f"expected bool, int, float, str or a list of these, got {text!r}")
    return value if type(value) in SCALARS else text


def _exponent(item: Any) -> Any:
    return float(item) if isinstance(item, str) and _EXPONENT.match(item) else item


def _cast(value: Any, kind: type, text: Any) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if kind is str:
        return str(value)
    if type(value) is not kind:
        raise _wrong(text, kind)
    return value


def _wrong(text: Any, kind: Any) -> ValueError:
    return ValueError(f"expected a value of type {getattr(kind, '__name__', kind)}, got {text!r}")
