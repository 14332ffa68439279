"""ROS parameters made of the settings in ``config.py``: same names, defaults, docs and limits."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Container
from typing import TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node

from semantic_field.config import Settings, updated, walk

AnySettings = TypeVar("AnySettings", bound=Settings)


def declare_settings(
    node: Node, defaults: AnySettings, prefix: str = "", dynamic: bool | Container[str] = False
) -> AnySettings:
    """Declare every option as a parameter and return the settings with the overrides in place.

    ``dynamic`` parameters (all, or those so named) may be set while the node runs, see
    ``follow_changes``; the others are read-only. Raises ValueError where an override is out of
    its limits.
    """
    values = {}
    for name, item, default in walk(defaults):
        value = list(default) if isinstance(default, tuple) else default
        fixed = not dynamic if isinstance(dynamic, bool) else name not in dynamic
        parameter = node.declare_parameter(prefix + name, value, descriptor(item, read_only=fixed))
        values[name] = parameter.value
    return updated(defaults, values)


def descriptor(item: dataclasses.Field, read_only: bool) -> ParameterDescriptor:
    """The descriptor of one option: its documentation, range and choices."""
    low, high = item.metadata["minimum"], item.metadata["maximum"]
    described = ParameterDescriptor(description=item.metadata["doc"], read_only=read_only)
    if item.metadata["choices"]:
        described.additional_constraints = "one of " + ", ".join(item.metadata["choices"])
    if low is None and high is None:
        return described
    if isinstance(item.default, float):
        limit = sys.float_info.max
        described.floating_point_range = [
            FloatingPointRange(
                from_value=float(-limit if low is None else low),
                to_value=float(limit if high is None else high),
            )
        ]
    else:
        described.integer_range = [
            IntegerRange(
                from_value=-(2**63) if low is None else int(low),
                to_value=2**63 - 1 if high is None else int(high),
                step=1,
            )
        ]
    return described


def follow_changes(node: Node, settings: AnySettings, prefix: str, apply) -> None:
    """Call ``apply(settings)`` with the new settings whenever a dynamic parameter is set.

    What ``apply`` refuses with a ValueError is not set.
    """
    current = settings

    def on_set(parameters) -> SetParametersResult:
        nonlocal current
        changed = {
            p.name.removeprefix(prefix): p.value for p in parameters if p.name.startswith(prefix)
        }
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
