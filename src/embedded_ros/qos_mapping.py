"""rclpy's QoS profiles as Cyclone DDS policies, and back."""

from __future__ import annotations

from typing import Any

from cyclonedds.qos import Policy, Qos

MAX_BLOCKING_NS = 100_000_000  # a write holds the interpreter lock: never for longer
INFINITE_NS = 0x7FFFFFFFFFFFFFFF
DEFAULT_DEPTH = 10
UNLIMITED = -1


def to_dds(profile: Any, user_data: bytes) -> Qos:
    """The policies of an ``rclpy.qos.QoSProfile`` for a reader or writer.

    ``user_data`` tells ROS processes the hash of the type. Zero durations mean "not set".
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


def describe(qos: Qos) -> dict[str, Any]:
    """The policies of a discovered endpoint by rclpy's names and enumeration members."""
    reliability, durability = qos[Policy.Reliability], qos[Policy.Durability]
    history = qos[Policy.History]
    found: dict[str, Any] = {
        "reliability": "RELIABLE"
        if isinstance(reliability, Policy.Reliability.Reliable)
        else "BEST_EFFORT",
        "durability": "TRANSIENT_LOCAL"
        if durability == Policy.Durability.TransientLocal
        else "VOLATILE",
        "history": "UNKNOWN",
        "depth": 0,
    }
    if isinstance(history, Policy.History.KeepLast):
        found |= {"history": "KEEP_LAST", "depth": history.depth}
    elif history is not None:
        found["history"] = "KEEP_ALL"
    return found
