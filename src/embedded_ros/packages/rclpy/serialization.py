"""CDR serialisation of messages."""

from __future__ import annotations

from typing import Any

from embedded_ros import cdr


def serialize_message(message: Any) -> bytes:
    """Return CDR bytes with encapsulation header; raises ValueError if a value does not fit."""
    return bytes(cdr.serialize(message))


def deserialize_message(serialized_message: bytes, message_type: Any) -> Any:
    """Parse a message from CDR bytes; raises ValueError if they are invalid."""
    return cdr.deserialize(bytes(serialized_message), message_type.TYPE_NAME)
