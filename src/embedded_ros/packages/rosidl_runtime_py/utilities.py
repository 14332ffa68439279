"""Looks up message and service classes by name."""

from __future__ import annotations

import importlib
from typing import Any


def get_message(identifier: str) -> Any:
    """Return the class of ``package/msg/Name`` (or ``package/Name``)."""
    return _get(identifier, "msg")


def get_service(identifier: str) -> Any:
    """Return the class of ``package/srv/Name`` (or ``package/Name``)."""
    return _get(identifier, "srv")


def get_interface(identifier: str) -> Any:
    """Return the class of ``package/msg/Name`` or ``package/srv/Name``."""
    parts = identifier.split("/")
    if len(parts) != 3 or parts[1] not in ("msg", "srv"):
        raise ValueError(f"expected 'package/msg/Name' or 'package/srv/Name', got '{identifier}'")
    return _get(identifier, parts[1])


def is_message(identifier: str) -> bool:
    """Return True if there is a message of that name."""
    return _exists(identifier, "msg")


def is_service(identifier: str) -> bool:
    """Return True if there is a service of that name."""
    return _exists(identifier, "srv")


def _exists(identifier: str, kind: str) -> bool:
    try:
        _get(identifier, kind)
    except (ValueError, AttributeError, ModuleNotFoundError):
        return False
    return True


def _get(identifier: str, kind: str) -> Any:
    parts = identifier.split("/")
    if len(parts) == 2:
        parts.insert(1, kind)
    if len(parts) != 3 or not all(parts) or parts[1] != kind:
        raise ValueError(f"expected 'package/{kind}/Name', got '{identifier}'")
    return getattr(importlib.import_module(f"{parts[0]}.{kind}"), parts[2])
