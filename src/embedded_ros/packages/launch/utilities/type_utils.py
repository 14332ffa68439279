"""Conversion of texts to typed values by the rules of YAML."""

from __future__ import annotations

import re
from typing import Any, get_args, get_origin

import yaml

from launch.launch_context import LaunchContext
from launch.substitution import Substitution, text_of

_SCALARS = (bool, int, float, str)


class _Loader(yaml.SafeLoader):
    """Reads YAML like ROS 2: 1e-3 is a number, which PyYAML would read as text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def get_typed_value(text: str, data_type: Any = None) -> Any:
    """Return a text as ``bool``, ``int``, ``float``, ``str`` or a list of one of these.

    Args:
        data_type: one of these types, such as ``list[int]``; None = as YAML reads the text.
    Raises:
        ValueError: if the text is not of that type, or is a mapping.
    """
    if data_type is str:
        return text
    try:
        value = yaml.load(text, _Loader)
    except yaml.YAMLError:
        value = text
    if isinstance(value, list) and (data_type in (None, list) or get_origin(data_type) is list):
        (kind,) = get_args(data_type) or (None,)
        return _uniform(value) if kind is None else [_cast(item, kind, text) for item in value]
    if data_type is not None:
        return _cast(value, data_type, text)
    if isinstance(value, dict):
        raise ValueError(f"expected bool, int, float, str or a list of these, got {text!r}")
    return value if type(value) in _SCALARS else text


def perform_typed_substitution(context: LaunchContext, value: Any, data_type: Any = None) -> Any:
    """Return a value, with substitutions performed, as the requested type.

    A list with substitutions is joined to one text. In a list without, each inner list is joined
    to one text.

    Args:
        data_type: see ``get_typed_value``; None = the type of the value itself.
    Raises:
        TypeError, ValueError: if it is not of that type, or of a type that parameters cannot have.
    """
    if _is_text_to_be(value):
        return get_typed_value(text_of(context, value), data_type)
    if isinstance(value, str) and data_type is not None:
        return get_typed_value(value, data_type)
    if isinstance(value, list | tuple):
        items = [text_of(context, v) if isinstance(v, list | tuple) else v for v in value]
        return _uniform(items)
    if type(value) not in _SCALARS:
        raise TypeError(
            f"expected bool, int, float, str, a list of these or substitutions, got {value!r} "
            f"({type(value).__name__})"
        )
    return value if data_type is None else _cast(value, data_type, value)


def _is_text_to_be(value: Any) -> bool:
    several = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(item, Substitution) for item in several)


def _uniform(values: list) -> list:
    """Return values of one type; ints are converted to floats if there are both.

    Raises:
        ValueError: if there are different types, or types that parameters cannot have.
    """
    kinds = {type(value) for value in values}
    if kinds == {int, float}:
        return [float(value) for value in values]
    if len(kinds) > 1 or not kinds <= set(_SCALARS):
        raise ValueError(f"expected a list of only bool, int, float or str, got {values!r}")
    return values


def _cast(value: Any, kind: Any, given: Any) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if kind is str:
        return str(value)
    if type(value) is not kind:
        raise ValueError(
            f"expected a value of type {getattr(kind, '__name__', kind)}, got {given!r}"
        )
    return value
