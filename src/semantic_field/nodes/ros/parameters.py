"""Declares the settings of ``config.py`` as ROS parameters: names, defaults, docs, limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.node import Node

from semantic_field.settings import Settings, is_switch, kind_of, limits_of, updated, walk

AnySettings = TypeVar("AnySettings", bound=Settings)


def declare_settings(node: Node, defaults: AnySettings, prefix: str = "") -> AnySettings:
    """Declare every option as a parameter and return the settings with overrides applied.

    Fixed options are read-only; others may be set while the node runs, see ``follow_changes``.

    Raises:
        ValueError: if an override has the wrong type or is out of its limits.
    """
    values = {}
    for name, item, default in walk(defaults):
        value = list(default) if isinstance(default, tuple) else default
        try:
            parameter = node.declare_parameter(prefix + name, value, descriptor(item))
        except InvalidParameterTypeException as error:
            raise ValueError(f"expected {prefix}{name} to be {kind_of(item)}: {error}") from error
        values[name] = given(item, parameter.value)
    return updated(defaults, values)


def given(item: dataclasses.Field, value: Any) -> Any:
    """Return the value of a parameter; rclpy returns an empty list (without a type) as None."""
    return () if value is None and isinstance(item.default, tuple) else value


def descriptor(item: dataclasses.Field) -> ParameterDescriptor:
    """Return the descriptor of one option: documentation, range and choices.

    A ROS range needs two ends; one-sided limits are described in words, and the settings check
    them.
    """
    low, high, fixed = (item.metadata[name] for name in ("minimum", "maximum", "fixed"))
    reason = f" (fixed while the node runs: {fixed})" if fixed else ""
    described = ParameterDescriptor(
        description=item.metadata["doc"] + reason,
        read_only=bool(fixed),
        # An empty list, and `on` and `off` in YAML, arrive with another type than the default's,
        # so the settings check the type instead.
        dynamic_typing=isinstance(item.default, tuple) or is_switch(item),
    )
    if low is None or high is None:
        described.additional_constraints = limits_of(item)
    elif isinstance(item.default, float):
        ends = FloatingPointRange(from_value=float(low), to_value=float(high))
        described.floating_point_range = [ends]
    else:
        described.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    return described


def follow_changes(
    node: Node, settings: AnySettings, prefix: str, apply: Callable[[AnySettings], None]
) -> None:
    """Call ``apply`` with the new settings whenever parameters below ``prefix`` are set.

    If ``apply`` raises ValueError, the parameters are not set. Only names of the settings count,
    also with an empty prefix.
    """
    current = settings
    own = {prefix + name for name, _, _ in walk(settings)}

    def on_set(parameters) -> SetParametersResult:
        nonlocal current
        changed = {p.name.removeprefix(prefix): p.value for p in parameters if p.name in own}
        if not changed:
            return SetParametersResult(successful=True)
        try:
            wanted = updated(current, changed)
            apply(wanted)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        current = wanted
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(on_set)
