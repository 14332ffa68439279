"""Messages to CDR bytes and back."""

from __future__ import annotations

from typing import Any

from embedded_ros import cdr


def serialize_message(message: Any) -> bytes:
    """CDR with its four bytes of encapsulation; ValueError where a value does not fit."""
    return bytes(cdr.serialize(message))


def deserialize_message(serialized_message: bytes, message_type: Any) -> Any:
    """The message of CDR bytes; ValueError where they do not hold one."""
    return cdr.deserialize(bytes(serialized_message), message_type.TYPE_NAME)
