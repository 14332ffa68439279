"""Type descriptions of the messages for Cyclone DDS; they never convert data.

The C layer checks CDR against these types and announces them to XTypes-aware tools
(``cyclonedds typeof``). Serialisation itself is done by ``cdr``.
"""

from __future__ import annotations

import functools
import threading
from typing import Any

from cyclonedds.idl import IdlStruct, make_idl_struct, types
from rosbags.interfaces import Nodetype

from embedded_ros import cdr, definitions

_PRIMITIVES: dict[str, Any] = {
    "bool": bool,
    "byte": types.byte,
    "char": types.uint8,
    "int8": types.int8,
    "uint8": types.uint8,
    "int16": types.int16,
    "uint16": types.uint16,
    "int32": types.int32,
    "uint32": types.uint32,
    "int64": types.int64,
    "uint64": types.uint64,
    "float32": types.float32,
    "float64": types.float64,
}
_LOCK = threading.Lock()


def dds_type_name(type_name: str) -> str:
    """Return the DDS type name, such as ``sensor_msgs::msg::dds_::Image_``."""
    package, kind, short = type_name.split("/")
    return f"{package}::{kind}::dds_::{short}_"


def ros_type_name(dds_name: str) -> str | None:
    """Return the ROS name of a type such as ``sensor_msgs::msg::dds_::Image_``; None if foreign."""
    parts = dds_name.split("::")
    if len(parts) != 4 or parts[2] != "dds_" or not parts[3].endswith("_"):
        return None
    return f"{parts[0]}/{parts[1]}/{parts[3][:-1]}"


def message_type(type_name: str) -> type[IdlStruct]:
    """Return the Cyclone type of a message."""
    with _LOCK:
        return _message_type(type_name)


def service_type(type_name: str) -> type[IdlStruct]:
    """Return the Cyclone type of a request or response: client guid, sequence number, fields."""
    with _LOCK:
        return _service_type(type_name)


@functools.cache
def _message_type(type_name: str) -> type[IdlStruct]:
    return _make(type_name, {})


@functools.cache
def _service_type(type_name: str) -> type[IdlStruct]:
    return _make(type_name, {"rmw_guid": types.uint64, "rmw_sequence_number": types.int64})


def _make(type_name: str, first: dict[str, Any]) -> type[IdlStruct]:
    fields = dict(first)
    for name, description in definitions.definition(type_name).fields:
        fields[name] = _annotation(description)
    package, kind, short = type_name.split("/")
    name = f"{package}.{kind}.dds_.{short}_"
    return make_idl_struct(f"{short}_", name, fields)


def _annotation(description: Any) -> Any:
    kind, detail = description
    if kind == Nodetype.NAME:
        return _message_type(detail)
    if kind == Nodetype.BASE:
        base, bound = detail
        if base == "string":
            return types.bounded_str[bound] if bound else str
        return _PRIMITIVES[base]
    inner, size = detail
    element = _annotation(inner)
    if kind == Nodetype.ARRAY:
        return types.array[element, size]
    return types.sequence[element, size] if size else types.sequence[element]


@functools.cache
def type_hash_user_data(type_name: str) -> bytes:
    """Return the USER_DATA entry with the type hash (REP-2016), which identifies the version."""
    return f"typehash={cdr.type_hash(type_name)};".encode()
