"""Fields of message classes: checked assignment, stored form and serialised form.

A field ``x`` has a slot ``_x`` with the stored value and, if rosbags' CDR code needs another form
(NumPy for arrays, int for ``byte``), a property ``_wire_x``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from rosbags.typesys.base import normalize_fieldname

INT_RANGES = {
    "int8": (-(2**7), 2**7 - 1),
    "uint8": (0, 2**8 - 1),
    "char": (0, 2**8 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "uint16": (0, 2**16 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}
TYPECODES = {
    "int8": "b",
    "uint8": "B",
    "char": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}
DTYPES = {name: np.dtype(name) for name in TYPECODES if name != "char"}
DTYPES |= {"char": np.dtype("uint8"), "bool": np.dtype("bool"), "byte": np.dtype("int8")}
IDL_NAMES = {"bool": "boolean", "byte": "octet", "char": "uint8", "float32": "float"}
IDL_NAMES |= {"float64": "double"}


class MessageField:
    """One field; subclasses define the accepted and the stored values."""

    def __init__(self, name: str, type_text: str) -> None:
        self.name = normalize_fieldname(name)
        self.slot = "_" + self.name
        self.type_text = type_text
        self.wire_name = self.slot
        self.set_slot: Callable[[Any, Any], None]
        self.set_received: Callable[[Any, Any], None]

    def bind(self, built: type) -> None:
        """Look up the slot of the finished message class."""
        self.set_slot = getattr(built, self.slot).__set__
        self.set_received = self.set_slot

    def default(self) -> Any:
        """Return a new default value, in stored form."""
        raise AssertionError("every field class has its default")

    def checked(self, value: Any) -> Any:
        """Return an assigned value in stored form; AssertionError if of wrong type, as rclpy."""
        raise AssertionError("every field class checks")

    def reset(self, message: Any) -> None:
        self.set_slot(message, self.default())

    def equal(self, one: Any, other: Any) -> bool:
        return getattr(one, self.name) == getattr(other, self.name)

    def properties(self) -> dict[str, property]:
        def assign(message: Any, value: Any) -> None:
            self.set_slot(message, self.checked(value))

        return {self.name: property(self.getter(), assign)}

    def getter(self) -> Callable[[Any], Any]:
        return operator.attrgetter(self.slot)

    def wrong(self, expected: str, value: Any) -> AssertionError:
        return AssertionError(
            f"The '{self.name}' field must be {expected}, got {type(value).__name__} {value!r:.80}"
        )


class Primitive(MessageField):
    """A bool, integer, float or string."""

    def __init__(self, name: str, base: str, bound: int, default: Any) -> None:
        text = "string" if base == "string" else IDL_NAMES.get(base, base)
        super().__init__(name, f"{text}<{bound}>" if bound else text)
        self.base, self.bound = base, bound
        self.value = default if default is not None else zero_of(base)
        if base.startswith("float"):
            self.value = float(self.value)

    def default(self) -> Any:
        return self.value

    def checked(self, value: Any) -> Any:
        check_element(self, self.base, self.bound, value)
        return value


class Octet(MessageField):
    """A ``byte``: ``bytes`` of length one in Python, a number when serialised."""

    def __init__(self, name: str, default: Any) -> None:
        super().__init__(name, "octet")
        self.value = bytes([default or 0])
        self.wire_name = "_wire_" + self.name

    def bind(self, built: type) -> None:
        super().bind(built)
        set_slot = self.set_slot
        self.set_received = lambda message, value: set_slot(message, bytes([value & 0xFF]))

    def default(self) -> bytes:
        return self.value

    def checked(self, value: Any) -> bytes:
        if not isinstance(value, bytes | bytearray) or len(value) != 1:
            raise self.wrong("of type 'bytes' with length 1", value)
        return bytes(value)

    def properties(self) -> dict[str, property]:
        slot = operator.attrgetter(self.slot)
        wire = property(lambda message: int.from_bytes(slot(message), "little", signed=True))
        return {**super().properties(), self.wire_name: wire}


class Nested(MessageField):
    """Another message."""

    def __init__(self, name: str, type_name: str, find_class: Callable[[str], type]) -> None:
        super().__init__(name, short_type(type_name))
        self.kind = find_class(type_name)

    def default(self) -> Any:
        return self.kind()

    def checked(self, value: Any) -> Any:
        if not isinstance(value, self.kind):
            raise self.wrong(f"a sub message of type '{self.kind.__name__}'", value)
        return value


def check_element(item: MessageField, base: str, bound: int, value: Any) -> None:
    """Raise AssertionError if ``value`` is not of the primitive type ``base``."""
    if base == "bool":
        if not isinstance(value, bool | np.bool_):
            raise item.wrong("of type 'bool'", value)
    elif base == "string":
        if not isinstance(value, str):
            raise item.wrong("of type 'str'", value)
        if bound and len(value) > bound:
            raise AssertionError(f"The '{item.name}' field takes at most {bound} characters")
    elif base.startswith("float"):
        if not isinstance(value, float):
            raise item.wrong("of type 'float'", value)
        if base == "float32" and 3.402823466e38 < abs(value) < float("inf"):
            raise item.wrong("a float in [-3.402823466e+38, 3.402823466e+38]", value)
    else:
        low, high = INT_RANGES[base]
        if not isinstance(value, int):
            raise item.wrong("of type 'int'", value)
        if not low <= value <= high:
            raise item.wrong(f"an integer in [{low}, {high}]", value)


def zero_of(base: str) -> Any:
    """Return the default value of a primitive type."""
    if base == "string":
        return ""
    return False if base == "bool" else 0


def short_type(type_name: str) -> str:
    """Shorten ``std_msgs/msg/Header`` to ``std_msgs/Header``, as rosidl does."""
    package, _, short = type_name.split("/")
    return f"{package}/{short}"
