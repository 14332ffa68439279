"""Settings as frozen dataclasses with documented and checked options.

``option`` gives a setting its default, documentation and range; ROS parameters and their
descriptors are generated from the same record (``mapping.rays_per_step`` and so on).
"""

from __future__ import annotations

import dataclasses
import math
from array import array
from collections.abc import Iterator
from dataclasses import fields
from types import MappingProxyType
from typing import Any


def option(
    default: Any,
    doc: str,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    fixed: str | None = None,
    at_most: str = "",
) -> Any:
    """Return a dataclass field with documentation and inclusive limits.

    Args:
        fixed: why the setting cannot be changed while a node runs; "" = it can; None = as its
            class says.
        at_most: name of another option of the class that this one must not exceed.
    """
    about = {"doc": doc, "minimum": minimum, "maximum": maximum, "choices": choices, "fixed": fixed}
    return dataclasses.field(default=default, metadata=about | {"at_most": at_most})


AUTOMATIC = ("auto", "on", "off")
"""Values of a switch that "auto" leaves to what is measured, see ``switch``."""


def switch(default: str, doc: str, fixed: str | None = None) -> Any:
    """Return an option that is on, off, or "auto": decided by what is measured while it is used.

    True and False are accepted as "on" and "off" and become these texts: YAML reads a bare ``on``
    or ``off`` as a truth value, and older files hold one.
    """
    return option(default, doc, choices=AUTOMATIC, fixed=fixed)


def is_switch(item: dataclasses.Field) -> bool:
    """Return whether an option was made by ``switch``."""
    return item.metadata.get("choices") == AUTOMATIC


class Settings:
    """Base class of settings: checks every option against its type, range and choices.

    ``class X(Settings, fixed="why")`` fixes all its options that do not set ``fixed`` themselves.

    Raises:
        ValueError: on a value of the wrong type or out of range.
    """

    def __init_subclass__(cls, fixed: str = "") -> None:
        for item in vars(cls).values():
            if isinstance(item, dataclasses.Field) and item.metadata.get("fixed", "") is None:
                item.metadata = MappingProxyType({**item.metadata, "fixed": fixed})

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]
            if is_switch(item) and isinstance(value := getattr(self, item.name), bool):
                object.__setattr__(self, item.name, "on" if value else "off")
            if "doc" in item.metadata:
                _check(type(self).__name__, item, getattr(self, item.name))
        for item in fields(self):  # type: ignore[arg-type]
            if item.metadata.get("at_most"):
                _check_order(self, item.name, item.metadata["at_most"])


def _check(owner: str, item: dataclasses.Field, value: Any) -> None:
    where, meta = f"{owner}.{item.name}", item.metadata
    if not _is_like(item.default, value):
        raise ValueError(f"expected {where} to be {kind_of(item)}, got {value!r}: {meta['doc']}")
    low, high = meta["minimum"], meta["maximum"]
    if (low is not None and value < low) or (high is not None and value > high):
        raise ValueError(f"expected {where} {limits_of(item)}, got {value}: {meta['doc']}")
    if meta["choices"] and value not in meta["choices"]:
        raise ValueError(f"expected {where} to be {limits_of(item)}, got {value!r}")


def _check_order(settings: Settings, low: str, high: str) -> None:
    least, most, owner = getattr(settings, low), getattr(settings, high), type(settings).__name__
    if least > most:
        raise ValueError(
            f"expected {owner}.{low} to be at most {high}, got {low} {least} and {high} {most}: "
            f"lower {low} or raise {high}"
        )


def _is_like(default: Any, value: Any) -> bool:
    """Return whether a value has the type of ``default``; ints are accepted as floats."""
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(_is_like(default[0], entry) for entry in value)
    if isinstance(value, bool) or isinstance(default, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, type(default))


def kind_of(item: dataclasses.Field) -> str:
    """Return the type of an option's values in words."""
    words = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text"}
    if isinstance(item.default, tuple):
        return "a list of " + {int: "whole numbers", str: "texts"}[type(item.default[0])]
    return words[type(item.default)]


def limits_of(item: dataclasses.Field) -> str:
    """Return the limits of an option in words, "" if it has none."""
    low, high = item.metadata["minimum"], item.metadata["maximum"]
    if item.metadata["choices"]:
        return "one of " + ", ".join(item.metadata["choices"])
    if low is not None and high is not None:
        return f"from {low} to {high}"
    if low is not None:
        return f"at least {low}"
    return "" if high is None else f"at most {high}"


def walk(settings: Settings, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field, Any]]:
    """Yield every option as (dotted name, dataclass field, value), nested ones included."""
    for item in fields(settings):  # type: ignore[arg-type]
        value = getattr(settings, item.name)
        if isinstance(value, Settings):
            yield from walk(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", item, value


def updated(settings: Any, values: dict[str, Any]) -> Any:
    """Return the settings with ``values`` (by dotted name) replaced; lists become tuples.

    Raises:
        ValueError: on an unknown name or a bad value.
    """
    nested: dict[str, dict[str, Any]] = {}
    own: dict[str, Any] = {}
    known = {item.name for item in fields(settings)}
    for name, value in values.items():
        head, _, rest = name.partition(".")
        if head not in known or (rest and not isinstance(getattr(settings, head), Settings)):
            raise ValueError(f"expected one of the settings {sorted(known)}, got {name!r}")
        if rest:
            nested.setdefault(head, {})[rest] = value
        else:
            listed = isinstance(value, list | tuple | array)
            own[head] = tuple(value) if listed else value
    own |= {head: updated(getattr(settings, head), rest) for head, rest in nested.items()}
    return dataclasses.replace(settings, **own)


def to_dict(settings: Settings) -> dict[str, Any]:
    """Return all options by dotted name, tuples as lists; ``updated`` accepts the result."""
    return {n: list(v) if isinstance(v, tuple) else v for n, _, v in walk(settings)}


def flattened(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
