"""Converts between rclpy's QoS profiles and Cyclone DDS policies."""

from __future__ import annotations

import ctypes
from typing import Any

from cyclonedds.internal import DDS
from cyclonedds.qos import Policy, Qos

MAX_BLOCKING_NS = 100_000_000  # a write holds the interpreter lock, so limit its duration
INFINITE_NS = 0x7FFFFFFFFFFFFFFF
DEFAULT_DEPTH = 10
UNLIMITED = -1

# A separate handle, because cyclonedds sets argument types on the functions of its own handle.
_LIBRARY = ctypes.CDLL(DDS._dll_handle._name)
for _name in ("reliability", "durability", "history", "userdata"):
    getattr(_LIBRARY, f"dds_qget_{_name}").restype = ctypes.c_bool
_LIBRARY.dds_free.restype = None


def to_dds(profile: Any, user_data: bytes) -> Qos:
    """Return the policies of an ``rclpy.qos.QoSProfile`` for a reader or writer.

    ``user_data`` contains the type hash for other ROS processes. Zero durations mean "not set".
    """
    depth = profile.depth or DEFAULT_DEPTH
    keep_all = profile.history.name == "KEEP_ALL"
    history = Policy.History.KeepAll if keep_all else Policy.History.KeepLast(depth)
    reliable = profile.reliability.name != "BEST_EFFORT"
    transient = profile.durability.name == "TRANSIENT_LOCAL"
    policies = [
        history,
        Policy.Reliability.Reliable(MAX_BLOCKING_NS) if reliable else Policy.Reliability.BestEffort,
        Policy.Durability.TransientLocal if transient else Policy.Durability.Volatile,
        Policy.DataRepresentation(use_cdrv0_representation=True),
        Policy.WriterDataLifecycle(autodispose=False),
        Policy.Userdata(user_data),
    ]
    if transient:
        policies.append(Policy.DurabilityService(0, history, UNLIMITED, UNLIMITED, UNLIMITED))
    return Qos(*policies, *_timing(profile))


def _timing(profile: Any) -> list:
    policies: list = []
    if _is_set(profile.deadline):
        policies.append(Policy.Deadline(profile.deadline.nanoseconds))
    if _is_set(profile.lifespan):
        policies.append(Policy.Lifespan(profile.lifespan.nanoseconds))
    lease = profile.liveliness_lease_duration
    lease_ns = lease.nanoseconds if _is_set(lease) else INFINITE_NS
    if profile.liveliness.name == "MANUAL_BY_TOPIC":
        policies.append(Policy.Liveliness.ManualByTopic(lease_ns))
    elif _is_set(lease):
        policies.append(Policy.Liveliness.Automatic(lease_ns))
    return policies


def _is_set(duration: Any) -> bool:
    return 0 < duration.nanoseconds < INFINITE_NS


def read_endpoint_qos(pointer: int) -> tuple[dict[str, Any], bytes]:
    """Return policies by rclpy's names, and USER_DATA, from a discovered endpoint's C structure.

    Not by cyclonedds, whose conversion writes into buffers that all threads share.
    """
    if not pointer:
        return {}, b""
    qos = ctypes.c_void_p(pointer)
    kind, depth = ctypes.c_int(0), ctypes.c_int32(0)
    unused = ctypes.c_int64(0)
    found: dict[str, Any] = {"history": "UNKNOWN", "depth": 0}
    is_set = _LIBRARY.dds_qget_reliability(qos, ctypes.byref(kind), ctypes.byref(unused))
    found["reliability"] = "RELIABLE" if is_set and kind.value == 1 else "BEST_EFFORT"
    is_set = _LIBRARY.dds_qget_durability(qos, ctypes.byref(kind))
    found["durability"] = "TRANSIENT_LOCAL" if is_set and kind.value >= 1 else "VOLATILE"
    if _LIBRARY.dds_qget_history(qos, ctypes.byref(kind), ctypes.byref(depth)):
        keep_all = kind.value == 1
        found["history"] = "KEEP_ALL" if keep_all else "KEEP_LAST"
        found["depth"] = 0 if keep_all else depth.value
    return found, _user_data(qos)


def _user_data(qos: ctypes.c_void_p) -> bytes:
    data, size = ctypes.c_void_p(), ctypes.c_size_t(0)
    if not _LIBRARY.dds_qget_userdata(qos, ctypes.byref(data), ctypes.byref(size)):
        return b""
    if not data.value:
        return b""
    content = ctypes.string_at(data, size.value)
    _LIBRARY.dds_free(data)
    return content
