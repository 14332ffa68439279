"""Frozen dataclasses from the nested values of a YAML or JSON file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def constructed(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """Return a dataclass whose fields are given by name; lists become tuples.

    A mapping for a field whose default is a dataclass, or a list of mappings for one whose default
    is a tuple of dataclasses, becomes those.

    Args:
        where: what the settings belong to, for messages.
    Raises:
        ValueError: on an unknown name or a bad value.
    """
    known = {item.name: item for item in dataclasses.fields(kind) if item.init}  # type: ignore
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(
            f"expected settings of {where} ({', '.join(sorted(known))}), got {', '.join(unknown)}"
        )
    given = {n: _value(_default(known[n]), v, f"{where}.{n}") for n, v in values.items()}
    try:
        return kind(**given)
    except TypeError as error:
        raise ValueError(f"expected other values in {where}: {error}") from error


def _value(default: Any, value: Any, where: str) -> Any:
    if isinstance(value, Mapping) and dataclasses.is_dataclass(default):
        return constructed(type(default), value, where)  # type: ignore[arg-type]
    if isinstance(value, list | tuple):
        inner = default[0] if isinstance(default, tuple) and default else None
        return tuple(_value(inner, entry, where) for entry in value)
    return value


def _default(item: dataclasses.Field) -> Any:
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return item.default


def plain(value: Any) -> Any:
    """Return nested mappings, dataclasses and tuples as dicts and lists, as JSON has them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: plain(entry) for name, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list | tuple) else value
