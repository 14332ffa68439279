"""Array and sequence fields of message classes, and the factory for all fields."""

from __future__ import annotations

import array
import operator
from collections.abc import Callable, Iterable, Sequence, Set
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype

from embedded_ros.message_fields import (
    DTYPES,
    IDL_NAMES,
    TYPECODES,
    MessageField,
    Nested,
    Octet,
    Primitive,
    check_element,
)


class Objects(MessageField):
    """An array or sequence of messages, strings, bools or octets, stored as a list."""

    def __init__(self, name: str, type_text: str, size: int, fixed: bool) -> None:
        super().__init__(name, type_text)
        self.size, self.fixed = size, fixed
        self.element_check: Callable[[Any], None]
        self.element_default: Callable[[], Any]
        self.initial: list | None = None

    def default(self) -> list:
        if self.initial is not None:
            return list(self.initial)
        return [self.element_default() for _ in range(self.size if self.fixed else 0)]

    def checked(self, value: Any) -> list:
        if isinstance(value, str) or not isinstance(value, Sequence | Set | np.ndarray):
            raise self.wrong("a set or sequence", value)
        check_size(self, len(value))
        kept = value if isinstance(value, list) else list(value)
        if isinstance(value, np.ndarray):
            kept = value.tolist()
        for element in kept:
            self.element_check(element)
        return kept


class Flags(Objects):
    """``bool[]`` or ``byte[]``: a list in Python, a NumPy array on the wire."""

    def __init__(self, name: str, type_text: str, base: str, size: int, fixed: bool) -> None:
        super().__init__(name, type_text, size, fixed)
        self.base = base
        self.wire_name = "_wire_" + self.name

    def bind(self, built: type) -> None:
        super().bind(built)
        set_slot, octets = self.set_slot, self.base == "byte"

        def received(message: Any, values: np.ndarray) -> None:
            kept = [bytes([v & 0xFF]) for v in values.tolist()] if octets else values.tolist()
            set_slot(message, kept)

        self.set_received = received

    def properties(self) -> dict[str, property]:
        slot = operator.attrgetter(self.slot)
        if self.base == "byte":
            wire = property(lambda message: np.frombuffer(b"".join(slot(message)), np.int8))
        else:
            wire = property(lambda message: np.array(slot(message), dtype=bool))
        return {**super().properties(), self.wire_name: wire}


class FixedNumbers(MessageField):
    """A numeric array of fixed length: a NumPy array."""

    def __init__(self, name: str, base: str, size: int, default: Any) -> None:
        super().__init__(name, f"{IDL_NAMES.get(base, base)}[{size}]")
        self.base, self.size, self.dtype = base, size, DTYPES[base]
        self.initial = default

    def bind(self, built: type) -> None:
        super().bind(built)
        set_slot = self.set_slot
        # Copy: a view of the received bytes would be read-only and keep them all alive.
        self.set_received = lambda message, value: set_slot(message, value.copy())

    def default(self) -> np.ndarray:
        if self.initial is not None:
            return np.array(self.initial, self.dtype)
        return np.zeros(self.size, self.dtype)

    def checked(self, value: Any) -> np.ndarray:
        kept = numbers(self, self.base, value, self.dtype)
        if kept.shape != (self.size,):
            raise self.wrong(f"a numeric array of {self.size} elements", value)
        return kept

    def equal(self, one: Any, other: Any) -> bool:
        return np.array_equal(getattr(one, self.name), getattr(other, self.name))


class Numbers(MessageField):
    """A numeric sequence: an ``array.array``, or until first access a view of received bytes."""

    def __init__(self, name: str, base: str, bound: int, default: Any) -> None:
        text = IDL_NAMES.get(base, base)
        super().__init__(name, f"sequence<{text}, {bound}>" if bound else f"sequence<{text}>")
        self.base, self.size, self.fixed = base, bound, False
        self.dtype, self.typecode = DTYPES[base], TYPECODES[base]
        self.initial = default or ()
        self.wire_name = "_wire_" + self.name

    def default(self) -> array.array:
        return array.array(self.typecode, self.initial)

    def checked(self, value: Any) -> array.array:
        if isinstance(value, array.array) and value.typecode == self.typecode:
            check_size(self, len(value))
            return value
        if isinstance(value, bytes | bytearray | memoryview) and self.dtype.itemsize == 1:
            value = np.frombuffer(value, self.dtype)
        kept = to_array(self.typecode, numbers(self, self.base, value, self.dtype))
        check_size(self, len(kept))
        return kept

    def getter(self) -> Callable[[Any], Any]:
        slot = operator.attrgetter(self.slot)

        def read(message: Any) -> array.array:
            value = slot(message)
            if type(value) is not array.array and isinstance(value, np.ndarray):
                value = to_array(self.typecode, value)
                self.set_slot(message, value)
            return value

        return read

    def properties(self) -> dict[str, property]:
        slot, dtype = operator.attrgetter(self.slot), self.dtype

        def wire(message: Any) -> np.ndarray:
            value = slot(message)
            return np.frombuffer(value, dtype) if len(value) else np.empty(0, dtype)

        return {**super().properties(), self.wire_name: property(wire)}


def to_array(typecode: str, values: np.ndarray) -> array.array:
    """Copy a contiguous one-dimensional NumPy array to an array.array."""
    result = array.array(typecode)
    if values.size:
        result.frombytes(memoryview(values).cast("B"))
    return result


def numbers(item: MessageField, base: str, value: Any, dtype: np.dtype) -> np.ndarray:
    """Convert an assigned buffer or list to a contiguous one-dimensional array of ``dtype``."""
    if isinstance(value, np.ndarray | array.array | memoryview):
        kept = np.asarray(value)
        if not np.can_cast(kept.dtype, dtype, "same_kind") or kept.ndim != 1:
            raise item.wrong(f"a one-dimensional array of {base}", value)
        return np.ascontiguousarray(kept.astype(dtype, copy=False))
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise item.wrong("a set or sequence", value)
    values = list(value)
    for element in values:
        check_element(item, base, 0, element)
    return np.array(values, dtype=dtype)


def check_size(item: Any, length: int) -> None:
    """Raise AssertionError if the length does not fit a fixed array or bounded sequence."""
    if item.fixed and length != item.size:
        raise AssertionError(
            f"The '{item.name}' field must have {item.size} elements, got {length}"
        )
    if not item.fixed and item.size and length > item.size:
        raise AssertionError(
            f"The '{item.name}' field takes at most {item.size} elements, got {length}"
        )


def make_field(
    name: str, description: Any, default: Any, find_class: Callable[[str], type]
) -> MessageField:
    """Create the field of one entry of a definition."""
    kind, detail = description
    if kind == Nodetype.NAME:
        return Nested(name, detail, find_class)
    if kind == Nodetype.BASE:
        base, bound = detail
        if base == "byte":
            return Octet(name, default)
        return Primitive(name, base, bound, default)
    (inner_kind, inner), size = detail
    fixed = kind == Nodetype.ARRAY
    if inner_kind == Nodetype.BASE and inner[0] in TYPECODES:
        if fixed:
            return FixedNumbers(name, inner[0], size, default)
        return Numbers(name, inner[0], size, default)
    return _objects(name, inner_kind, inner, size, fixed, default, find_class)


def _objects(
    name: str,
    inner_kind: int,
    inner: Any,
    size: int,
    fixed: bool,
    default: Any,
    find_class: Callable[[str], type],
) -> Objects:
    if inner_kind == Nodetype.NAME:
        element = Nested(name, inner, find_class)
    else:
        element = Octet(name, None) if inner[0] == "byte" else Primitive(name, *inner, None)
    if fixed:
        text = f"{element.type_text}[{size}]"
    else:
        text = (
            f"sequence<{element.type_text}, {size}>" if size else f"sequence<{element.type_text}>"
        )
    if inner_kind == Nodetype.BASE and inner[0] in ("bool", "byte"):
        result: Objects = Flags(name, text, inner[0], size, fixed)
    else:
        result = Objects(name, text, size, fixed)
    result.element_check = element.checked
    result.element_default = element.default
    result.initial = default
    return result
