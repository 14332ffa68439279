"""Samples of DDS discovery: participants, and their readers and writers.

The C layer creates a sample by calling one of the functions below. They replace cyclonedds' own
functions, which convert every policy through buffers that all threads share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cyclonedds.builtin import BuiltinDataReader
from cyclonedds.core import DDSException, InstanceState


@dataclass(frozen=True)
class Endpoint:
    """One reader or writer on the domain."""

    guid: bytes
    participant: bytes
    dds_topic: str
    dds_type: str
    is_writer: bool
    qos: dict[str, Any]
    user_data: bytes

    @property
    def type_hash(self) -> str:
        """Return the hash ``RIHS01_…`` from the USER_DATA; empty if there is none."""
        return user_data_entry(self.user_data, "typehash") or ""


def user_data_entry(user_data: bytes, key: str) -> str | None:
    """Return the value of ``key=value;`` in USER_DATA, or None without such a key."""
    for entry in user_data.decode("ascii", "replace").split(";"):
        if entry.startswith(f"{key}="):
            return entry.removeprefix(f"{key}=")
    return None


def take(function: Callable, reader: BuiltinDataReader, make: Callable, qos: Callable) -> list:
    """Take all samples of a discovery topic, created by ``make``; DDSException if it is closed."""
    taken = function(reader._ref, 1000, make, qos)
    if isinstance(taken, int):
        raise DDSException(taken, "while reading discovery")
    return taken


def no_qos(pointer: int) -> None:
    """Callback of the C layer that does not convert policies."""


def participant(key: bytes, qos: None, info: Any) -> tuple[bytes, bool]:
    """Return the guid of a participant, and whether it is alive."""
    return bytes(key), info.instance_state == InstanceState.Alive


def endpoint(
    key: bytes,
    participant: bytes,
    handle: int,
    topic: str,
    type_name: str,
    qos: tuple[dict[str, Any], bytes] | None,
    info: Any,
    *type_id: Any,
) -> tuple[bool, Endpoint]:
    """Return whether an endpoint is alive, and the endpoint."""
    policies, user_data = qos or ({}, b"")  # an endpoint that has left has no policies
    is_alive = info.instance_state == InstanceState.Alive
    return is_alive, Endpoint(
        bytes(key), bytes(participant), topic, type_name, False, policies, user_data
    )
