"""Rules for parameters: valid names, types, ranges, read-only."""

from __future__ import annotations

import math

from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult

from rclpy.exceptions import InvalidParameterException
from rclpy.parameter import Parameter

RELATIVE_TOLERANCE = 1e-6  # for floats at the ends and steps of a range
WRONG_TYPE = "Wrong parameter type"


def check_name(name: object) -> str:
    """Return the name; raises TypeError or InvalidParameterException if it is not valid."""
    if not isinstance(name, str):
        raise TypeError(f"expected a parameter name of type str, got {name!r}")
    if not name:
        raise InvalidParameterException(name)
    return name


def check_value(
    parameter: Parameter,
    descriptor: ParameterDescriptor,
    is_declared: bool = True,
    check_read_only: bool = True,
) -> SetParametersResult:
    """Return whether the descriptor allows the parameter's value, and the reason if not."""
    reason = _reason_against(parameter, descriptor, is_declared, check_read_only)
    return SetParametersResult(successful=not reason, reason=reason)


def _reason_against(
    parameter: Parameter, descriptor: ParameterDescriptor, is_declared: bool, check_read_only: bool
) -> str:
    if check_read_only and descriptor.read_only:
        return f"Trying to set a read-only parameter: {parameter.name}."
    if not descriptor.dynamic_typing and parameter.type_ is Parameter.Type.NOT_SET:
        return "Static parameter cannot be undeclared" if is_declared else ""
    expected = Parameter.Type(int(descriptor.type))
    if not descriptor.dynamic_typing and parameter.type_ is not expected:
        return (
            f"{WRONG_TYPE}, expected '{expected}' got '{parameter.type_}' "
            f"for parameter '{parameter.name}'"
        )
    if parameter.type_ is Parameter.Type.INTEGER and descriptor.integer_range:
        return _outside_integers(parameter, descriptor.integer_range[0])
    if parameter.type_ is Parameter.Type.DOUBLE and descriptor.floating_point_range:
        return _outside_decimals(parameter, descriptor.floating_point_range[0])
    return ""


def _outside_integers(parameter: Parameter, limits) -> str:
    low, high = sorted((limits.from_value, limits.to_value))
    value = parameter.value
    if value in (low, high):  # the ends are allowed even if they are not on a step
        return ""
    if not low < value < high:
        return _out_of_range(parameter, low, high)
    if limits.step and (value - low) % limits.step:
        return _off_step(parameter, low, limits.step)
    return ""


def _outside_decimals(parameter: Parameter, limits) -> str:
    low, high = sorted((limits.from_value, limits.to_value))
    value = parameter.value
    if _close(value, low) or _close(value, high):
        return ""
    if not low < value < high:  # NaN counts as outside
        return _out_of_range(parameter, low, high)
    if limits.step:
        nearest = low + round((value - low) / limits.step) * limits.step
        if not _close(value, nearest):
            return _off_step(parameter, low, limits.step)
    return ""


def _close(value: float, other: float) -> bool:
    return math.isclose(value, other, rel_tol=RELATIVE_TOLERANCE)


def _out_of_range(parameter: Parameter, low: float, high: float) -> str:
    return (
        f"Parameter {parameter.name} out of range. "
        f"Min: {low}, Max: {high}, value: {parameter.value}"
    )


def _off_step(parameter: Parameter, low: float, step: float) -> str:
    return (
        f"The parameter value for {parameter.name} is not a valid step. "
        f"Min: {low}, step: {step}, value: {parameter.value}"
    )
