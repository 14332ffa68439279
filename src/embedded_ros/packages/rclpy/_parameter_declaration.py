"""Parses and checks the tuples that declare_parameters takes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor

from rclpy._parameter_rules import check_name
from rclpy.parameter import PARAMETER_SEPARATOR_STRING, Parameter

ONLY_NAME = (
    "when declaring parameter named '{}', declaring a parameter only providing its name is "
    "deprecated. You have to either: pass a name and a default value different to PARAMETER "
    "NOT SET (and optionally a descriptor), pass a name and a parameter type, or pass a name and "
    "a descriptor with `dynamic_typing=True`"
)


@dataclass(frozen=True)
class Declaration:
    """One parameter to declare; ``default`` is None if only its type is given."""

    name: str
    default: Any
    descriptor: ParameterDescriptor

    def parameter(self, override: Parameter | None = None) -> Parameter:
        """Return the parameter, with the override's value if there is one.

        As in rclpy, an override without a value (an empty list on the command line or in a file)
        results in a parameter without a value.
        """
        return Parameter(self.name, value=self.default if override is None else override.value)


def parse_declaration(namespace: str, entry: tuple) -> Declaration:
    """Parse a tuple of one to three elements. Its descriptor object is used (and modified) by the
    parameter: as in rclpy, one descriptor must not be used for several parameters.

    Raises:
        TypeError: if not a tuple of name, value or Parameter.Type, ParameterDescriptor.
        ValueError: on neither type nor value, or a type together with dynamic typing.
        InvalidParameterException: on an empty name.
    """
    if not 1 <= len(entry) <= 3:
        raise TypeError(
            f"Invalid parameter tuple {entry!r}: expected (name), (name, value or type) or "
            "(name, value or type, descriptor)"
        )
    name, second = (*entry, None)[:2]
    descriptor = entry[2] if len(entry) == 3 else ParameterDescriptor()
    check_name(name)
    if not isinstance(descriptor, ParameterDescriptor):
        raise TypeError(f"expected a ParameterDescriptor for '{name}', got {descriptor!r}")
    if len(entry) == 1:
        warnings.warn(ONLY_NAME.format(name), UserWarning, stacklevel=4)
        descriptor.dynamic_typing = True
    full_name = f"{namespace}{PARAMETER_SEPARATOR_STRING}{name}" if namespace else name
    descriptor.name = full_name
    if isinstance(second, Parameter.Type):
        descriptor.type = _given_type(full_name, second, descriptor).value
        return Declaration(full_name, None, descriptor)
    if not descriptor.dynamic_typing:
        descriptor.type = _type_of_default(full_name, second)
    return Declaration(full_name, second, descriptor)


def _given_type(
    name: str, type_: Parameter.Type, descriptor: ParameterDescriptor
) -> Parameter.Type:
    if type_ is Parameter.Type.NOT_SET:
        raise ValueError(f"Cannot declare parameter '{name}' to be of type NOT_SET")
    if descriptor.dynamic_typing:
        raise ValueError(
            f"When declaring parameter '{name}' passing a type, dynamic typing must be false"
        )
    return type_


def _type_of_default(name: str, default: Any) -> int:
    type_ = Parameter.Type.from_parameter_value(default)
    if type_ is Parameter.Type.NOT_SET:
        raise ValueError(f"Cannot declare the statically typed parameter '{name}' without value")
    return type_.value
