"""Fills messages from plain Python values, such as those of a command line."""

from __future__ import annotations

import array
from typing import Any

import numpy as np

from embedded_ros.messages import message_class


def set_message_fields(
    msg: Any, values: dict[str, Any], expand_header_auto: bool = False, **options: Any
) -> list[Any]:
    """Set the fields of ``msg`` named in ``values``, nested messages from nested dictionaries.

    Raises:
        AttributeError: if a name is not a field.
        TypeError: if ``values`` is not a dictionary.
        ValueError: if a value does not fit its field.
    """
    if not isinstance(values, dict):
        raise TypeError(f"Value '{values}' is expected to be a dictionary but is a {type(values)}")
    kinds = msg.get_fields_and_field_types()
    for name, value in values.items():
        if name not in kinds:
            raise AttributeError(
                f"'{type(msg).__name__}' object has no attribute '{name}'; it has {sorted(kinds)}"
            )
        try:
            setattr(msg, name, _converted(getattr(msg, name), kinds[name], value))
        except (AssertionError, OverflowError) as error:
            raise ValueError(f"{type(msg).__name__}.{name}: {error}") from error
    return []


def _converted(current: Any, kind: str, value: Any) -> Any:
    """Convert ``value`` to the type of the field's current value."""
    if hasattr(current, "get_fields_and_field_types"):
        if not isinstance(value, type(current)):
            set_message_fields(current, value)
            return current
        return value
    if isinstance(current, array.array):
        return current.__class__(current.typecode, _numbers(value, current.typecode in "fd"))
    if isinstance(current, np.ndarray):
        return np.array(value, dtype=current.dtype)
    if isinstance(current, list):
        return [_element(kind, item) for item in value]
    if isinstance(current, bytes):
        return bytes([value]) if isinstance(value, int) else bytes(value)
    if isinstance(current, bool):
        return bool(value)
    if isinstance(current, int | float | str):
        return type(current)(value)
    return value


def _numbers(values: Any, floats: bool) -> list:
    return [float(value) if floats else int(value) for value in values]


def _element(kind: str, value: Any) -> Any:
    """Convert an element of a ``sequence<package/Name>``, or of strings, bools or octets."""
    inner = kind.removeprefix("sequence<").rstrip(">").split(",")[0].split("[")[0].strip()
    if "/" in inner and isinstance(value, dict):
        package, name = inner.split("/")
        element = message_class(f"{package}/msg/{name}")()
        set_message_fields(element, value)
        return element
    if inner.startswith("string"):
        return str(value)
    if inner == "octet" and isinstance(value, int):
        return bytes([value])
    return value
