"""Message and service classes with rclpy's interface, built from the definitions.

A class has a keyword constructor with defaults, constants as class attributes, checked assignment,
``get_fields_and_field_types()``, ``==`` and ``repr``. As in rclpy a fixed numeric array is a NumPy
array and a numeric sequence is an ``array.array``; any buffer or list may be assigned. A received
sequence remains a view of the received bytes until it is first accessed.
"""

from __future__ import annotations

import functools
import threading
from types import ModuleType
from typing import Any

import numpy as np

from embedded_ros import definitions
from embedded_ros.definitions import EMPTY_MEMBER, Definition
from embedded_ros.message_arrays import make_field
from embedded_ros.message_fields import MessageField

_LOCK = threading.RLock()


class Message:
    """Base of all message classes."""

    __slots__ = ()
    TYPE_NAME: str = ""
    FIELDS: tuple[MessageField, ...] = ()

    def __init__(self, **kwargs: Any) -> None:
        for item in self.FIELDS:
            item.reset(self)
        for name, value in kwargs.items():
            if name == "check_fields":  # an option of rclpy; here fields are always checked
                continue
            if name not in self.__names():
                raise AttributeError(
                    f"{self.TYPE_NAME} has no field '{name}'; it has {sorted(self.__names())}"
                )
            setattr(self, name, value)

    @classmethod
    def __names(cls) -> dict[str, str]:
        return {item.name: item.type_text for item in cls.FIELDS if item.name != EMPTY_MEMBER}

    @classmethod
    def get_fields_and_field_types(cls) -> dict[str, str]:
        """Return the field names and their types, in rosidl's notation."""
        return cls.__names()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return False
        return all(item.equal(self, other) for item in self.FIELDS)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={_short(getattr(self, name))}" for name in self.__names())
        package, kind, name = self.TYPE_NAME.split("/")
        return f"{package}.{kind}.{name}({fields})"

    def __reduce__(self):
        values = {name: getattr(self, name) for name in self.__names()}
        return _rebuild, (self.TYPE_NAME, values)


def _short(value: Any) -> str:
    if len(value) > 32 if hasattr(value, "__len__") and not isinstance(value, str) else False:
        return f"<{len(value)} elements>"
    return repr(value)


def _rebuild(type_name: str, values: dict[str, Any]) -> Message:
    return message_class(type_name)(**values)


@functools.cache
def _build_class(type_name: str) -> type[Message]:
    definition = definitions.definition(type_name)
    package, kind, short = type_name.split("/")
    fields = tuple(
        make_field(name, description, definition.defaults.get(name), message_class)
        for name, description in definition.fields
    )
    namespace: dict[str, Any] = {
        "__slots__": tuple(item.slot for item in fields),
        "__module__": f"{package}.{kind}",
        "__doc__": f"Message class {type_name}.",
        "TYPE_NAME": type_name,
        "FIELDS": fields,
    }
    namespace.update(_constants(definition))
    for item in fields:
        namespace.update(item.properties())
    built = type(short, (Message,), namespace)
    for item in fields:
        item.bind(built)
    return built


def _constants(definition: Definition) -> dict[str, Any]:
    return {
        name: bytes([value]) if kind == "byte" else value
        for name, (kind, value) in definition.constants.items()
    }


def message_class(type_name: str) -> type[Message]:
    """Return the class of ``package/msg/Name`` or ``package/srv/Name_Request`` / ``_Response``."""
    with _LOCK:
        return _build_class(type_name)


@functools.cache
def _build_service(type_name: str) -> type:
    package, kind, short = type_name.split("/")
    return type(
        short,
        (),
        {
            "__module__": f"{package}.{kind}",
            "__doc__": f"Service class {type_name}.",
            "TYPE_NAME": type_name,
            "Request": message_class(type_name + "_Request"),
            "Response": message_class(type_name + "_Response"),
        },
    )


def service_class(type_name: str) -> type:
    """Return the class of a service ``package/srv/Name``, with ``Request`` and ``Response``."""
    with _LOCK:
        return _build_service(type_name)


def from_wire(type_name: str):
    """Return a function that creates a message from its field values, in order, unchecked."""
    built = message_class(type_name)
    setters = [item.set_received for item in built.FIELDS]
    new = built.__new__

    def make(*values: Any) -> Message:
        message = new(built)
        for setter, value in zip(setters, values):
            setter(message, value)
        return message

    return make


def fill_module(module: ModuleType, package: str, kind: str) -> None:
    """Fill ``module`` as ``<package>.msg`` or ``<package>.srv``."""
    names = definitions.interface_names(package, kind)

    def attribute(name: str) -> type:
        full = f"{package}/{kind}/{name}"
        if kind == "srv" and name.rpartition("_")[2] in ("Request", "Response"):
            found = message_class(full) if name.rpartition("_")[0] in names else None
        elif name in names:
            found = message_class(full) if kind == "msg" else service_class(full)
        else:
            found = None
        if found is None:
            raise AttributeError(f"module '{package}.{kind}' has no attribute '{name}'")
        setattr(module, name, found)
        return found

    module.__dict__["__getattr__"] = attribute
    module.__dict__["__dir__"] = lambda: sorted({*names, *module.__dict__})
    module.__dict__["__all__"] = names
    module.__doc__ = f"Interfaces of {package}: {', '.join(names)}."


def as_array(value: Any) -> np.ndarray:
    """Return a numeric field as a NumPy array, without a copy if possible."""
    return np.asarray(value)
