"""Parameters: name, type and value, and conversions to messages."""

from __future__ import annotations

import array
from enum import Enum
from typing import Any

import numpy as np
from rcl_interfaces.msg import Parameter as ParameterMsg
from rcl_interfaces.msg import ParameterType, ParameterValue

PARAMETER_SEPARATOR_STRING = "."


class Parameter:
    """An immutable parameter; without a given type, the type is derived from the value."""

    class Type(Enum):
        NOT_SET = ParameterType.PARAMETER_NOT_SET
        BOOL = ParameterType.PARAMETER_BOOL
        INTEGER = ParameterType.PARAMETER_INTEGER
        DOUBLE = ParameterType.PARAMETER_DOUBLE
        STRING = ParameterType.PARAMETER_STRING
        BYTE_ARRAY = ParameterType.PARAMETER_BYTE_ARRAY
        BOOL_ARRAY = ParameterType.PARAMETER_BOOL_ARRAY
        INTEGER_ARRAY = ParameterType.PARAMETER_INTEGER_ARRAY
        DOUBLE_ARRAY = ParameterType.PARAMETER_DOUBLE_ARRAY
        STRING_ARRAY = ParameterType.PARAMETER_STRING_ARRAY

        @classmethod
        def from_parameter_value(cls, parameter_value: Any) -> Parameter.Type:
            """Return the type of a Python value; an empty list is a BYTE_ARRAY, as in rclpy.

            Raises:
                TypeError: if no parameter can hold the value.
            """
            if parameter_value is None:
                return cls.NOT_SET
            for type_, python_type in _SCALARS.items():
                if isinstance(parameter_value, python_type):
                    return cls[type_]
            if isinstance(parameter_value, list | tuple | array.array):
                for type_, python_type in _ARRAYS.items():
                    if all(isinstance(element, python_type) for element in parameter_value):
                        return cls[type_]
            raise TypeError(
                f"The given value {parameter_value!r} is not one of the allowed types: bool, int, "
                "float, str, or a list of one of these or of bytes."
            )

        def check(self, parameter_value: Any) -> bool:
            """Return True if a parameter of this type can hold the value."""
            if self is Parameter.Type.NOT_SET:
                return parameter_value is None
            if self.name in _SCALARS:
                return isinstance(parameter_value, _SCALARS[self.name])
            element_type = _ARRAYS[self.name]
            is_numeric = self.name in ("INTEGER_ARRAY", "DOUBLE_ARRAY")
            lists = (list, tuple, array.array) if is_numeric else (list, tuple)
            return isinstance(parameter_value, lists) and all(
                isinstance(element, element_type) for element in parameter_value
            )

    @classmethod
    def from_parameter_msg(cls, param_msg: ParameterMsg) -> Parameter:
        """Create a parameter from an rcl_interfaces/Parameter."""
        type_ = Parameter.Type(value=int(param_msg.value.type))
        return cls(param_msg.name, type_, parameter_value_to_python(param_msg.value))

    def __init__(self, name: str, type_: Parameter.Type | None = None, value: Any = None) -> None:
        if type_ is None:
            type_ = Parameter.Type.from_parameter_value(value)
        if not isinstance(type_, Parameter.Type):
            raise TypeError("type must be an instance of Parameter.Type")
        if not type_.check(value):
            raise ValueError(f"Type '{type_}' and value '{value}' do not agree")
        self._name, self._type_, self._value = name, type_, value

    @property
    def name(self) -> str:
        return self._name

    @property
    def type_(self) -> Parameter.Type:
        return self._type_

    @property
    def value(self) -> Any:
        return self._value

    def get_parameter_value(self) -> ParameterValue:
        """Return the value as an rcl_interfaces/ParameterValue."""
        message = ParameterValue(type=self._type_.value)
        if self._type_ is not Parameter.Type.NOT_SET:
            value = list(self._value) if self._type_.name in _ARRAYS else self._value
            setattr(message, _FIELDS[self._type_.value], value)
        return message

    def to_parameter_msg(self) -> ParameterMsg:
        """Return the parameter as an rcl_interfaces/Parameter."""
        return ParameterMsg(name=self._name, value=self.get_parameter_value())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Parameter):
            return NotImplemented
        same_kind = self._name == other._name and self._type_ is other._type_
        return same_kind and self._value == other._value

    def __hash__(self) -> int:
        return hash((self._name, self._type_))

    def __repr__(self) -> str:
        return f"Parameter(name={self._name!r}, type_={self._type_}, value={self._value!r})"


# The order matters: in Python a bool is also an int, but it must become a BOOL.
_SCALARS: dict[str, type] = {"BOOL": bool, "INTEGER": int, "DOUBLE": float, "STRING": str}
_ARRAYS: dict[str, type] = {
    "BYTE_ARRAY": bytes,
    "BOOL_ARRAY": bool,
    "INTEGER_ARRAY": int,
    "DOUBLE_ARRAY": float,
    "STRING_ARRAY": str,
}
_FIELDS: dict[int, str] = {
    type_.value: f"{type_.name.lower()}_value"
    for type_ in Parameter.Type
    if type_ is not Parameter.Type.NOT_SET
}


def parameter_value_to_python(parameter_value: ParameterValue) -> Any:
    """Return the Python value of a ParameterValue, None if it is not set.

    Raises:
        ValueError: if ``type`` is none of ParameterType's.
    """
    type_ = int(parameter_value.type)
    if type_ == ParameterType.PARAMETER_NOT_SET:
        return None
    if type_ not in _FIELDS:
        raise ValueError(f"expected a type of ParameterType, got {type_}")
    name = Parameter.Type(type_).name
    value = getattr(parameter_value, _FIELDS[type_])
    if name in _SCALARS:
        return _SCALARS[name](value)
    if name == "BYTE_ARRAY":
        return [_to_byte(element) for element in value]
    return [_ARRAYS[name](element) for element in value]


def _to_byte(element: bytes | int | np.integer) -> bytes:
    return element if isinstance(element, bytes) else bytes([int(element)])
