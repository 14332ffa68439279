"""Samples of DDS discovery: participants, and the readers and writers that they have.

The C layer makes a sample by calling one of the functions below. cyclonedds' own functions are not
used: they convert every policy, through buffers that all threads share.
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
        """``RIHS01_…`` of its USER_DATA, empty where it has none."""
        return user_data_entry(self.user_data, "typehash") or ""


def user_data_entry(user_data: bytes, key: str) -> str | None:
    """The value of ``key=value;`` in USER_DATA; None where the key is not there."""
    for entry in user_data.decode("ascii", "replace").split(";"):
        if entry.startswith(f"{key}="):
            return entry.removeprefix(f"{key}=")
    return None


def take(function: Callable, reader: BuiltinDataReader, make: Callable, qos: Callable) -> list:
    """All samples of a discovery topic, each made by ``make``; DDSException where it is closed."""
    taken = function(reader._ref, 1000, make, qos)
    if isinstance(taken, int):
        raise DDSException(taken, "while reading discovery")
    return taken


def no_qos(pointer: int) -> None:
    """Leaves the policies where they are."""


def participant(key: bytes, qos: None, info: Any) -> tuple[bytes, bool]:
    """The guid of a participant, and whether it is there."""
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
    """Whether an endpoint is there, and the endpoint."""
    policies, user_data = qos or ({}, b"")  # an endpoint that has left has no policies
    is_alive = info.instance_state == InstanceState.Alive
    return is_alive, Endpoint(
        bytes(key), bytes(participant), topic, type_name, False, policies, user_data
    )
