"""Durations in nanoseconds."""

from __future__ import annotations

from typing import Any

S_TO_NS = 1_000_000_000
INFINITE_NS = 0x7FFFFFFFFFFFFFFF


class Duration:
    """A duration, possibly negative."""

    def __init__(self, *, seconds: float = 0, nanoseconds: int = 0) -> None:
        total = int(seconds * S_TO_NS) + int(nanoseconds)
        if not -(2**63) <= total < 2**63:
            raise OverflowError("Total nanoseconds value is too large to store in C duration.")
        self._nanoseconds = total

    @property
    def nanoseconds(self) -> int:
        return self._nanoseconds

    def to_msg(self) -> Any:
        from builtin_interfaces.msg import Duration as DurationMessage

        seconds, nanoseconds = divmod(self._nanoseconds, S_TO_NS)
        if seconds >= 2**31:
            return DurationMessage(sec=2**31 - 1, nanosec=S_TO_NS - 1)
        return DurationMessage(sec=seconds, nanosec=nanoseconds)

    @classmethod
    def from_msg(cls, msg: Any) -> Duration:
        return cls(nanoseconds=msg.sec * S_TO_NS + msg.nanosec)

    def get_c_duration(self) -> int:
        return self._nanoseconds

    def __repr__(self) -> str:
        return f"Duration(nanoseconds={self._nanoseconds})"

    def __str__(self) -> str:
        return f"{self._nanoseconds} nanoseconds" if self._nanoseconds < INFINITE_NS else "Infinite"

    def _other(self, other: object) -> int:
        if not isinstance(other, Duration):
            raise TypeError(f"cannot compare Duration with {type(other).__name__}")
        return other._nanoseconds

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Duration) and self._nanoseconds == other._nanoseconds

    def __hash__(self) -> int:
        return hash(self._nanoseconds)

    def __lt__(self, other: Duration) -> bool:
        return self._nanoseconds < self._other(other)

    def __le__(self, other: Duration) -> bool:
        return self._nanoseconds <= self._other(other)

    def __gt__(self, other: Duration) -> bool:
        return self._nanoseconds > self._other(other)

    def __ge__(self, other: Duration) -> bool:
        return self._nanoseconds >= self._other(other)

    def __add__(self, other: Duration) -> Duration:
        return Duration(nanoseconds=self._nanoseconds + self._other(other))

    def __sub__(self, other: Duration) -> Duration:
        return Duration(nanoseconds=self._nanoseconds - self._other(other))

    def __neg__(self) -> Duration:
        return Duration(nanoseconds=-self._nanoseconds)

    def __mul__(self, factor: float) -> Duration:
        return Duration(nanoseconds=int(self._nanoseconds * factor))


Infinite = Duration(nanoseconds=INFINITE_NS)
