"""The tuples that declare_parameters takes, checked and completed."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor, ParameterType, ParameterValue

from rclpy._parameter_rules import check_name
from rclpy.parameter import PARAMETER_SEPARATOR_STRING, Parameter, parameter_value_to_python

ONLY_NAME = (
    "when declaring parameter named '{}', declaring a parameter only providing its name is "
    "deprecated. You have to either: pass a name and a default value different to PARAMETER "
    "NOT SET (and optionally a descriptor), pass a name and a parameter type, or pass a name and "
    "a descriptor with `dynamic_typing=True`"
)


@dataclass(frozen=True)
class Declaration:
    """One parameter to declare; ``default`` is None where only its type is given."""

    name: str
    default: Any
    descriptor: ParameterDescriptor

    def parameter(self, override: Parameter | None = None) -> Parameter:
        """The parameter with the override's value where there is one."""
        given = override is not None and override.type_ is not Parameter.Type.NOT_SET
        value = override.value if given else self.default
        type_ = Parameter.Type(int(self.descriptor.type))
        if value is None:
            return Parameter(self.name, Parameter.Type.NOT_SET, None)
        if not self.descriptor.dynamic_typing and type_.check(value):
            return Parameter(self.name, type_, value)  # [] has no type of its own
        return Parameter(self.name, value=value)


def parse_declaration(namespace: str, entry: tuple) -> Declaration:
    """The declaration that a tuple of one to three elements stands for.

    Raises:
        TypeError: not a tuple of name, value or Parameter.Type, ParameterDescriptor.
        ValueError: type NOT_SET, or a type together with dynamic typing.
        InvalidParameterException: an empty name.
    """
    if not isinstance(entry, tuple | list) or not 1 <= len(entry) <= 3:
        raise TypeError(
            f"Invalid parameter tuple {entry!r}: expected (name), (name, value or type) or "
            "(name, value or type, descriptor)"
        )
    name, second, descriptor = (*entry, None, None)[:3]
    check_name(name)
    if descriptor is None:
        descriptor = ParameterDescriptor()
    if not isinstance(descriptor, ParameterDescriptor):
        raise TypeError(f"expected a ParameterDescriptor for '{name}', got {descriptor!r}")
    descriptor = copy.deepcopy(descriptor)  # one descriptor may serve for several parameters
    if len(entry) == 1:
        warnings.warn(ONLY_NAME.format(name), UserWarning, stacklevel=4)
        descriptor.dynamic_typing = True
    full_name = f"{namespace}{PARAMETER_SEPARATOR_STRING}{name}" if namespace else name
    default, type_ = _default_and_type(full_name, second, descriptor)
    descriptor.name, descriptor.type = full_name, type_.value
    return Declaration(full_name, default, descriptor)


def _default_and_type(
    name: str, second: Any, descriptor: ParameterDescriptor
) -> tuple[Any, Parameter.Type]:
    if isinstance(second, Parameter.Type):
        if second is Parameter.Type.NOT_SET:
            raise ValueError(f"Cannot declare parameter '{name}' to be of type NOT_SET")
        if descriptor.dynamic_typing:
            raise ValueError(
                f"When declaring parameter '{name}' passing a type, dynamic typing must be false"
            )
        return None, second
    if isinstance(second, ParameterValue):
        if second.type == ParameterType.PARAMETER_NOT_SET:
            raise ValueError(f"Cannot declare a statically typed parameter '{name}' without value")
        return parameter_value_to_python(second), Parameter.Type(int(second.type))
    if second is None and not descriptor.dynamic_typing:
        # As in rclpy: the type of the descriptor counts, or that of the first value set.
        return None, Parameter.Type(int(descriptor.type))
    return second, Parameter.Type.from_parameter_value(second)
