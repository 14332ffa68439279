"""CDR of messages, by rosbags' generated code working on this package's message classes."""

from __future__ import annotations

import struct
from typing import Any

from rosbags.interfaces import Msgdef
from rosbags.serde import SerdeError
from rosbags.serde.cdr import generate_deserialize_cdr, generate_getsize_cdr, generate_serialize_cdr
from rosbags.typesys.store import Typestore

from embedded_ros import definitions, messages

HEADER_LENGTH = 4  # encapsulation: 00 01 00 00 = little endian CDR


class MessageStore(Typestore):
    """A rosbags type store whose code reads and makes this package's message classes."""

    def get_msgdef(self, typename: str) -> Msgdef[Any]:
        found = self.cache.get(typename)
        if found is None:
            found = self.cache[typename] = self._generate(typename)
        return found

    def _generate(self, typename: str) -> Msgdef[Any]:
        definition = definitions.definition(typename)
        self.fielddefs[typename] = ([], list(definition.fields))
        built = messages.message_class(typename)
        entries = [
            (item.wire_name, description)
            for item, (_, description) in zip(built.FIELDS, definition.fields)
        ]
        for _, description in definition.fields:
            self._generate_nested(description)
        size, static_size = generate_getsize_cdr(entries, self)
        ros1 = None  # ROS 1's format is never asked for
        return Msgdef(
            typename,
            entries,
            messages.from_wire(typename),
            static_size,
            size,
            generate_serialize_cdr(entries, self, "le"),
            generate_serialize_cdr(entries, self, "be"),
            generate_deserialize_cdr(entries, self, "le"),
            generate_deserialize_cdr(entries, self, "be"),
            *([ros1] * 8),
        )

    def _generate_nested(self, description: Any) -> None:
        kind, detail = description
        if kind == 2:
            self.get_msgdef(detail)
        elif kind in (3, 4):
            self._generate_nested(detail[0])


_STORE = MessageStore()


def serialize(message: messages.Message) -> bytearray:
    """Little endian CDR with its four bytes of encapsulation.

    Raises:
        ValueError: a value that the type cannot hold, named.
    """
    definition = _STORE.get_msgdef(message.TYPE_NAME)
    try:
        size = HEADER_LENGTH + definition.getsize_cdr(0, message, _STORE)
        data = bytearray(size)
        data[1] = 1
        definition.serialize_cdr_le(memoryview(data)[HEADER_LENGTH:], 0, message, _STORE)
    except (SerdeError, TypeError, AttributeError, ArithmeticError, struct.error) as error:
        raise ValueError(f"{message.TYPE_NAME} cannot be serialized: {error}") from error
    return data


def deserialize(data: bytes | bytearray | memoryview, type_name: str) -> messages.Message:
    """The message of CDR bytes; numeric sequences are views of ``data``.

    Raises:
        ValueError: the bytes do not hold that type.
    """
    definition = _STORE.get_msgdef(type_name)
    view = memoryview(data)
    if len(view) < HEADER_LENGTH or view[0] != 0 or view[1] > 1:
        raise ValueError(
            f"{type_name}: expected CDR (00 00 or 00 01 first), got {bytes(view[:4])!r}"
        )
    read = definition.deserialize_cdr_le if view[1] else definition.deserialize_cdr_be
    try:
        message, _ = read(view[HEADER_LENGTH:], 0, definition.cls, _STORE)
    except (SerdeError, ValueError, IndexError, struct.error) as error:
        raise ValueError(f"{type_name}: broken CDR: {error}") from error
    return message


def type_hash(type_name: str) -> str:
    """REP-2016 hash of a message, ``RIHS01_`` and 64 hex digits."""
    _STORE.get_msgdef(type_name)
    return _STORE.hash_rihs01(type_name)
