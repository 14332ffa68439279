"""Checks of message and service classes."""

from __future__ import annotations

from typing import Any

from embedded_ros.messages import Message


class NoTypeSupportImportedException(Exception):
    """A class is not a message or service class."""


def check_for_type_support(msg_or_srv_type: Any) -> None:
    """Raise AttributeError if it is neither a message nor a service class."""
    if not hasattr(msg_or_srv_type, "TYPE_NAME"):
        raise AttributeError(f"{msg_or_srv_type!r} is neither a message nor a service class")


def check_is_valid_msg_type(msg_type: Any) -> None:
    """Raise RuntimeError if it is not a message class."""
    if not (isinstance(msg_type, type) and issubclass(msg_type, Message)):
        raise RuntimeError(f"The message type provided is not valid: {msg_type!r}")


def check_is_valid_srv_type(srv_type: Any) -> None:
    """Raise RuntimeError if it is not a service class."""
    if not (hasattr(srv_type, "Request") and hasattr(srv_type, "Response")):
        raise RuntimeError(f"The service type provided is not valid: {srv_type!r}")
