"""QoS profiles and their policies."""

from __future__ import annotations

import warnings
from enum import Enum, IntEnum
from typing import Any

from rclpy.duration import INFINITE_NS, Duration


class QoSPolicyKind(IntEnum):
    """Policies by their numbers in events."""

    INVALID = 1
    DURABILITY = 2
    DEADLINE = 4
    LIVELINESS = 8
    RELIABILITY = 16
    HISTORY = 32
    LIFESPAN = 64
    DEPTH = 128
    LIVELINESS_LEASE_DURATION = 256
    AVOID_ROS_NAMESPACE_CONVENTIONS = 512


class QoSPolicyEnum(IntEnum):
    """Base of the policy enumerations: conversion from and to short names."""

    @classmethod
    def short_keys(cls) -> list[str]:
        return [key.lower() for key in cls.__members__ if key == cls[key].name]

    @classmethod
    def get_from_short_key(cls, name: str) -> Any:
        return cls[name.upper()]

    @property
    def short_key(self) -> str:
        return self.name.lower()


class HistoryPolicy(QoSPolicyEnum):
    SYSTEM_DEFAULT = 0
    KEEP_LAST = 1
    KEEP_ALL = 2
    UNKNOWN = 3


class ReliabilityPolicy(QoSPolicyEnum):
    SYSTEM_DEFAULT = 0
    RELIABLE = 1
    BEST_EFFORT = 2
    UNKNOWN = 3
    BEST_AVAILABLE = 4


class DurabilityPolicy(QoSPolicyEnum):
    SYSTEM_DEFAULT = 0
    TRANSIENT_LOCAL = 1
    VOLATILE = 2
    UNKNOWN = 3
    BEST_AVAILABLE = 4


class LivelinessPolicy(QoSPolicyEnum):
    SYSTEM_DEFAULT = 0
    AUTOMATIC = 1
    MANUAL_BY_TOPIC = 3
    UNKNOWN = 4
    BEST_AVAILABLE = 5


QoSHistoryPolicy = HistoryPolicy
QoSReliabilityPolicy = ReliabilityPolicy
QoSDurabilityPolicy = DurabilityPolicy
QoSLivelinessPolicy = LivelinessPolicy


class InvalidQoSProfileException(Exception):
    """A profile is inconsistent."""

    def __init__(self, *args: object) -> None:
        super().__init__("Invalid QoSProfile", *args)


_FIELDS: dict[str, Any] = {
    "history": HistoryPolicy.KEEP_LAST,
    "depth": 0,
    "reliability": ReliabilityPolicy.RELIABLE,
    "durability": DurabilityPolicy.VOLATILE,
    "lifespan": Duration(),
    "deadline": Duration(),
    "liveliness": LivelinessPolicy.SYSTEM_DEFAULT,
    "liveliness_lease_duration": Duration(),
    "avoid_ros_namespace_conventions": False,
}
_ENUMS = {
    "history": HistoryPolicy,
    "reliability": ReliabilityPolicy,
    "durability": DurabilityPolicy,
    "liveliness": LivelinessPolicy,
}


class QoSProfile:
    """Quality of service of an endpoint; ``history`` or ``depth`` must be given."""

    history: HistoryPolicy
    depth: int
    reliability: ReliabilityPolicy
    durability: DurabilityPolicy
    lifespan: Duration
    deadline: Duration
    liveliness: LivelinessPolicy
    liveliness_lease_duration: Duration
    avoid_ros_namespace_conventions: bool

    def __init__(self, **kwargs: Any) -> None:
        unknown = kwargs.keys() - _FIELDS.keys()
        if unknown:
            raise AssertionError(f"Invalid arguments passed to constructor: {sorted(unknown)}")
        if "history" not in kwargs and "depth" not in kwargs:
            raise InvalidQoSProfileException("History and/or depth settings are required.")
        if kwargs.get("history") == HistoryPolicy.KEEP_LAST and "depth" not in kwargs:
            raise InvalidQoSProfileException("History set to KEEP_LAST without a depth setting.")
        for name, default in _FIELDS.items():
            setattr(self, name, kwargs.get(name, default))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _ENUMS:
            value = _ENUMS[name](value)
        elif name == "depth":
            assert isinstance(value, int), f"depth: expected an int, got {value!r}"
            if value < 0:
                raise ValueError(f"depth: expected at least 0, got {value}")
            if value == 0 and getattr(self, "history", None) == HistoryPolicy.KEEP_LAST:
                warnings.warn(
                    "A zero depth with KEEP_LAST means the middleware's default depth",
                    stacklevel=3,
                )
        elif name in ("lifespan", "deadline", "liveliness_lease_duration"):
            assert isinstance(value, Duration), f"{name}: expected a Duration, got {value!r}"
        object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, QoSProfile):
            return False
        return all(getattr(self, name) == getattr(other, name) for name in _FIELDS)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"QoSProfile({', '.join(f'{name}={getattr(self, name)!r}' for name in _FIELDS)})"

    def __str__(self) -> str:
        return repr(self)

    def get_c_qos_profile(self) -> QoSProfile:
        return self


def copy_of(profile: QoSProfile | int, **changes: Any) -> QoSProfile:
    """Return a copy of a profile with some policies changed; an int means a depth."""
    if isinstance(profile, int):
        return QoSProfile(depth=profile, **changes)
    return QoSProfile(**{name: getattr(profile, name) for name in _FIELDS} | changes)


def resolved(profile: QoSProfile, others: list[Any] | None) -> QoSProfile:
    """Return the profile with BEST_AVAILABLE replaced by policies that match the other side now.

    ``others`` are the topic's publishers, for a subscription; None for a publisher, which offers
    the strictest policies.
    """
    changes: dict[str, Any] = {}
    if profile.reliability == ReliabilityPolicy.BEST_AVAILABLE:
        reliable = others is None or _all_offer(others, "reliability", ReliabilityPolicy.RELIABLE)
        changes["reliability"] = (
            ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        )
    if profile.durability == DurabilityPolicy.BEST_AVAILABLE:
        kept = DurabilityPolicy.TRANSIENT_LOCAL
        latched = others is None or _all_offer(others, "durability", kept)
        changes["durability"] = kept if latched else DurabilityPolicy.VOLATILE
    return copy_of(profile, **changes)


def _all_offer(others: list[Any], policy: str, wanted: Any) -> bool:
    return bool(others) and all(getattr(o.qos_profile, policy) == wanted for o in others)


_SERVICES = QoSProfile(depth=10)
_SENSOR = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
_PARAMETERS = QoSProfile(depth=1000)
_DEFAULT = QoSProfile(depth=10)
_SYSTEM = QoSProfile(
    history=HistoryPolicy.SYSTEM_DEFAULT,
    depth=0,
    reliability=ReliabilityPolicy.SYSTEM_DEFAULT,
    durability=DurabilityPolicy.SYSTEM_DEFAULT,
)
_BEST_AVAILABLE = QoSProfile(
    depth=10,
    reliability=ReliabilityPolicy.BEST_AVAILABLE,
    durability=DurabilityPolicy.BEST_AVAILABLE,
    liveliness=LivelinessPolicy.BEST_AVAILABLE,
)
_ROSOUT = QoSProfile(
    depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL, lifespan=Duration(seconds=10)
)

qos_profile_default = _DEFAULT
qos_profile_unknown = QoSProfile(history=HistoryPolicy.UNKNOWN)
qos_profile_system_default = _SYSTEM
qos_profile_sensor_data = _SENSOR
qos_profile_services_default = _SERVICES
qos_profile_parameters = _PARAMETERS
qos_profile_parameter_events = _PARAMETERS
qos_profile_best_available = _BEST_AVAILABLE
qos_profile_rosout_default = _ROSOUT


class QoSPresetProfiles(Enum):
    """Profiles by their names in ``ros2 topic --qos-profile``."""

    UNKNOWN = qos_profile_unknown
    DEFAULT = qos_profile_default
    SYSTEM_DEFAULT = qos_profile_system_default
    SENSOR_DATA = qos_profile_sensor_data
    SERVICES_DEFAULT = qos_profile_services_default
    PARAMETERS = QoSProfile(depth=1000)
    PARAMETER_EVENTS = QoSProfile(depth=1000, lifespan=Duration(nanoseconds=INFINITE_NS))
    BEST_AVAILABLE = qos_profile_best_available

    @classmethod
    def short_keys(cls) -> list[str]:
        return [name.lower() for name in cls.__members__]

    @classmethod
    def get_from_short_key(cls, name: str) -> Any:
        return cls[name.upper()].value


class QoSCompatibility(IntEnum):
    OK = 0
    WARNING = 1
    ERROR = 2


def qos_check_compatible(
    publisher_qos: QoSProfile, subscription_qos: QoSProfile
) -> tuple[QoSCompatibility, str]:
    """Return whether the profiles are compatible, and the reason if not."""
    reasons = []
    if (
        publisher_qos.reliability == ReliabilityPolicy.BEST_EFFORT
        and subscription_qos.reliability == ReliabilityPolicy.RELIABLE
    ):
        reasons.append("ERROR: Best effort publisher and reliable subscription;")
    if (
        publisher_qos.durability == DurabilityPolicy.VOLATILE
        and subscription_qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
    ):
        reasons.append("ERROR: Volatile publisher and transient local subscription;")
    return (QoSCompatibility.ERROR if reasons else QoSCompatibility.OK), "".join(reasons)
