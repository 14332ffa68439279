"""Cyclone DDS wrapper: participants, readers and writers of CDR bytes, wait sets.

Samples are CDR bytes. Waiting in a ``WaitSet`` releases the interpreter lock; writing holds it,
so writers use keep-last history and block for 100 ms at most.
"""

from __future__ import annotations

import atexit
import ctypes
import struct
import threading
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from cyclonedds._clayer import (
    ddspy_get_matched_publication_data,
    ddspy_get_matched_subscription_data,
    ddspy_take,
    ddspy_write,
)
from cyclonedds.core import DDSException, Entity, InstanceState, SampleState, ViewState
from cyclonedds.domain import Domain, DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.internal import DDS
from cyclonedds.pub import DataWriter
from cyclonedds.qos import Policy, Qos
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic

from embedded_ros import discovery, qos_mapping

ANY_STATE = SampleState.Any | ViewState.Any | InstanceState.Any
INFINITE_NS = 0x7FFFFFFFFFFFFFFF
CLOSED = -3  # DDS_RETCODE_BAD_PARAMETER: the handle is no longer valid
ALREADY_DELETED = -9

# cyclonedds converts policies through buffers that are shared by all threads.
_CREATING = threading.RLock()

# A separate handle, because cyclonedds sets argument types on the functions of its own handle.
_LIBRARY = ctypes.CDLL(DDS._dll_handle._name)
_LIBRARY.dds_waitset_wait.argtypes = [
    ctypes.c_int32,
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int64,
]
_LIBRARY.dds_waitset_attach.argtypes = [ctypes.c_int32, ctypes.c_int32, ctypes.c_ssize_t]
_LIBRARY.dds_waitset_detach.argtypes = [ctypes.c_int32, ctypes.c_int32]
_LIBRARY.dds_set_guardcondition.argtypes = [ctypes.c_int32, ctypes.c_bool]
_LIBRARY.dds_take_guardcondition.argtypes = [ctypes.c_int32, ctypes.POINTER(ctypes.c_bool)]
_LIBRARY.dds_create_readcondition.argtypes = [ctypes.c_int32, ctypes.c_uint32]
_LIBRARY.dds_get_matched_subscriptions.argtypes = [
    ctypes.c_int32,
    ctypes.c_void_p,
    ctypes.c_size_t,
]
_LIBRARY.dds_get_matched_publications.argtypes = [ctypes.c_int32, ctypes.c_void_p, ctypes.c_size_t]


def checked(code: int, doing: str) -> int:
    """Return ``code`` unless it is an error; then raise DDSException that names ``doing``."""
    if code < 0:
        raise DDSException(code, f"while {doing}")
    return code


def close(entity: Entity) -> None:
    """Delete an entity now instead of at garbage collection; repeated calls do nothing."""
    if Entity._entities.get(entity._ref) is entity:
        Entity.__del__(entity)


class Participant:
    """This process's DDS participant; owns all its readers and writers."""

    _domains: dict[int, Domain] = {}
    _open: weakref.WeakSet[Participant] = weakref.WeakSet()
    _lock = threading.RLock()  # garbage collection of a node may close it at any point

    def __init__(self, domain_id: int) -> None:
        with self._lock:
            if domain_id not in self._domains:
                self._domains[domain_id] = Domain(domain_id, discovery.configuration())
            self.domain_id = domain_id
            self.entity = DomainParticipant(domain_id, Qos(Policy.Userdata(b"enclave=/;")))
            self._open.add(self)
        self.guid = self.entity.guid.bytes
        self._topics: dict[tuple[str, str], Topic] = {}
        self._count = 0

    def topic(self, name: str, data_type: type[IdlStruct]) -> Topic:
        """Return the DDS topic of that name and type; created once."""
        key = (name, data_type.__idl_typename__)
        with self._lock:
            if key not in self._topics:
                self._topics[key] = Topic(self.entity, name, data_type)
            return self._topics[key]

    def next_number(self) -> int:
        """Return a number that is unique within this participant."""
        with self._lock:
            self._count += 1
            return self._count

    def close(self) -> None:
        """Leave the domain and delete all readers and writers."""
        with self._lock:
            self._open.discard(self)
            self._topics.clear()
        close(self.entity)

    @classmethod
    def close_all(cls) -> None:
        """Leave every domain, before the interpreter unloads modules."""
        for participant in list(cls._open):
            participant.close()
        for domain in cls._domains.values():
            close(domain)
        cls._domains.clear()


atexit.register(Participant.close_all)


@dataclass(frozen=True)
class Sample:
    """One received sample: CDR bytes, source time and handle of the writer."""

    data: bytes
    source_timestamp_ns: int
    publication_handle: int


class Writer:
    """Writes CDR bytes to one topic."""

    def __init__(
        self, participant: Participant, name: str, data_type: type[IdlStruct], qos: Qos
    ) -> None:
        with _CREATING:
            self.entity = DataWriter(participant.entity, participant.topic(name, data_type), qos)
        self._ref = self.entity._ref
        self.guid = self.entity.guid.bytes
        self.instance_handle = self.entity.instance_handle & 0xFFFFFFFFFFFFFFFF

    def write(self, data: bytes | bytearray) -> None:
        """Send CDR bytes.

        Raises:
            TimeoutError: if readers blocked it longer than the blocking time; it is lost.
            DDSException: if the bytes do not fit the type, or the writer is closed.
        """
        missing = -len(data) % 4
        code = ddspy_write(self._ref, bytes(data) + bytes(missing) if missing else data)
        if code == DDSException.DDS_RETCODE_TIMEOUT:
            raise TimeoutError("a reliable reader is too slow: the sample was not sent")
        checked(code, f"writing {len(data)} bytes to {self.entity}")

    def matched_count(self) -> int:
        """Return the number of matched readers."""
        return len(_matched(_LIBRARY.dds_get_matched_subscriptions, self._ref))

    def matched_user_data(self) -> list[bytes]:
        """Return the USER_DATA of each matched reader."""
        readers = _matched(_LIBRARY.dds_get_matched_subscriptions, self._ref)
        return _user_data(ddspy_get_matched_subscription_data, self._ref, readers)

    def close(self) -> None:
        close(self.entity)


class Reader:
    """Takes CDR bytes from one topic; ``condition`` is triggered while there are samples."""

    def __init__(
        self, participant: Participant, name: str, data_type: type[IdlStruct], qos: Qos
    ) -> None:
        with _CREATING:
            self.entity = DataReader(participant.entity, participant.topic(name, data_type), qos)
        self._ref = self.entity._ref
        self.guid = self.entity.guid.bytes
        self.condition = checked(
            _LIBRARY.dds_create_readcondition(self._ref, ANY_STATE), "creating a read condition"
        )

    def take(self) -> Sample | None:
        """Return the next sample, or None if there is none or the reader is closed."""
        while True:
            taken = ddspy_take(self._ref, ANY_STATE, 1)
            if isinstance(taken, int):
                if taken in (CLOSED, ALREADY_DELETED):
                    return None
                raise DDSException(taken, f"while taking from {self.entity}")
            if not taken:
                return None
            data, info = taken[0]
            if info.valid_data:
                return Sample(data, info.source_timestamp, info.publication_handle)

    def matched_count(self) -> int:
        """Return the number of matched writers."""
        return len(_matched(_LIBRARY.dds_get_matched_publications, self._ref))

    def matched_user_data(self) -> list[bytes]:
        """Return the USER_DATA of each matched writer."""
        writers = _matched(_LIBRARY.dds_get_matched_publications, self._ref)
        return _user_data(ddspy_get_matched_publication_data, self._ref, writers)

    def writer_user_data(self, publication_handle: int) -> bytes | None:
        """Return the USER_DATA of the writer of a sample, or None if it has left."""
        found = _user_data(ddspy_get_matched_publication_data, self._ref, [publication_handle])
        return found[0] if found else None

    def close(self) -> None:
        close(self.entity)


def _matched(list_handles: Callable, entity: int) -> list[int]:
    """Return the handles of the matched endpoints; empty if ``entity`` is closed."""
    handles: Any = (ctypes.c_int64 * 16)()
    while (count := list_handles(entity, handles, len(handles))) > len(handles):
        handles = (ctypes.c_int64 * count)()
    return handles[: max(0, count)]


def _user_data(describe: Callable, entity: int, matched: Iterable[int]) -> list[bytes]:
    """Return the USER_DATA of the matched endpoints that still exist."""
    found = (
        describe(entity, handle, _user_data_of, qos_mapping.read_endpoint_qos) for handle in matched
    )
    return [user_data for user_data in found if user_data is not None]


def _user_data_of(
    key: bytes, participant: bytes, handle: int, topic: str, type_name: str, qos: Any, *rest: Any
) -> bytes:
    """Callback of the C layer: return only the USER_DATA of an endpoint's description."""
    return qos[1]


class GuardCondition:
    """A flag that a wait set can wait for; any thread may trigger it."""

    def __init__(self, participant: Participant) -> None:
        self.condition = checked(
            _LIBRARY.dds_create_guardcondition(participant.entity._ref), "creating a guard"
        )

    def trigger(self) -> None:
        _LIBRARY.dds_set_guardcondition(self.condition, True)

    def take(self) -> bool:
        """Reset the flag and return whether it was triggered."""
        raised = ctypes.c_bool(False)
        code = _LIBRARY.dds_take_guardcondition(self.condition, ctypes.byref(raised))
        return code >= 0 and raised.value

    def close(self) -> None:
        _LIBRARY.dds_delete(self.condition)


class WaitSet:
    """Waits for any of a changing set of conditions; used by one thread at a time."""

    def __init__(self, participant: Participant) -> None:
        self._ref = checked(
            _LIBRARY.dds_create_waitset(participant.entity._ref), "creating a wait set"
        )
        self._attached: set[int] = set()
        self._buffer = (ctypes.c_ssize_t * 64)()

    def attach_only(self, conditions: Iterable[int]) -> None:
        """Wait for exactly these conditions (or entities with a status mask) from now on."""
        wanted = set(conditions)
        for condition in self._attached - wanted:
            _LIBRARY.dds_waitset_detach(self._ref, condition)  # may fail: already deleted
        for condition in wanted - self._attached:
            if _LIBRARY.dds_waitset_attach(self._ref, condition, condition) < 0:
                wanted.discard(condition)  # deleted in the meantime
        self._attached = wanted

    def wait(self, timeout_ns: int) -> list[int] | None:
        """Return the triggered conditions; [] after ``timeout_ns``; None if the domain was left."""
        if len(self._buffer) < len(self._attached):
            self._buffer = (ctypes.c_ssize_t * (2 * len(self._attached)))()
        count = _LIBRARY.dds_waitset_wait(
            self._ref, ctypes.addressof(self._buffer), len(self._buffer), timeout_ns
        )
        if count < 0:
            return None
        return self._buffer[: min(count, len(self._buffer))]

    def close(self) -> None:
        _LIBRARY.dds_delete(self._ref)


def join_service_body(guid: int, sequence_number: int, body: bytes | bytearray) -> bytes:
    """Return the CDR of a request or response: rmw_cyclonedds' header, then the fields."""
    return bytes(body[:4]) + struct.pack("<Qq", guid, sequence_number) + bytes(body[4:])


def split_service_body(data: bytes) -> tuple[int, int, bytes]:
    """Split a request or response into client guid, sequence number and CDR of the fields."""
    order = "<" if data[1] & 1 else ">"
    guid, sequence_number = struct.unpack_from(order + "Qq", data, 4)
    return guid, sequence_number, data[:4] + data[20:]
