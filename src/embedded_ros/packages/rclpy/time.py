"""Points in time in nanoseconds, each with a clock type."""

from __future__ import annotations

from typing import Any

from rclpy.clock_type import ClockType
from rclpy.duration import S_TO_NS, Duration


class Time:
    """A point in time since the epoch of its clock; not negative."""

    def __init__(
        self,
        *,
        seconds: float = 0,
        nanoseconds: int = 0,
        clock_type: ClockType = ClockType.SYSTEM_TIME,
    ) -> None:
        if seconds < 0:
            raise ValueError("Seconds value must not be negative")
        if nanoseconds < 0:
            raise ValueError("Nanoseconds value must not be negative")
        if not isinstance(clock_type, ClockType):
            raise TypeError("Clock type must be a ClockType enum")
        total = int(seconds * S_TO_NS) + int(nanoseconds)
        if total >= 2**63:
            raise OverflowError("Total nanoseconds value is too large to store in C time point.")
        self._nanoseconds, self._clock_type = total, clock_type

    @property
    def nanoseconds(self) -> int:
        return self._nanoseconds

    @property
    def clock_type(self) -> ClockType:
        return self._clock_type

    def seconds_nanoseconds(self) -> tuple[int, int]:
        return divmod(self._nanoseconds, S_TO_NS)

    def to_msg(self) -> Any:
        from builtin_interfaces.msg import Time as TimeMessage

        seconds, nanoseconds = self.seconds_nanoseconds()
        return TimeMessage(sec=seconds, nanosec=nanoseconds)

    @classmethod
    def from_msg(cls, msg: Any, clock_type: ClockType = ClockType.ROS_TIME) -> Time:
        return cls(nanoseconds=msg.sec * S_TO_NS + msg.nanosec, clock_type=clock_type)

    def __repr__(self) -> str:
        return f"Time(nanoseconds={self._nanoseconds}, clock_type={self._clock_type.name})"

    def __add__(self, other: object) -> Time:
        if isinstance(other, Duration):
            return self._moved(other.nanoseconds)
        return NotImplemented

    __radd__ = __add__

    def __sub__(self, other: object) -> Any:
        if isinstance(other, Time):
            self._check_clock(other)
            return Duration(nanoseconds=self._nanoseconds - other._nanoseconds)
        if isinstance(other, Duration):
            return self._moved(-other.nanoseconds)
        return NotImplemented

    def _moved(self, nanoseconds: int) -> Time:
        total = self._nanoseconds + nanoseconds
        if total < 0:
            raise ValueError("Subtraction leads to negative time")
        return Time(nanoseconds=total, clock_type=self._clock_type)

    def _check_clock(self, other: Time) -> None:
        if self._clock_type != other._clock_type:
            raise TypeError("Can't compare times with different clock types")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Time):
            return NotImplemented
        self._check_clock(other)
        return self._nanoseconds == other._nanoseconds

    def __hash__(self) -> int:
        return hash((self._nanoseconds, self._clock_type))

    def __lt__(self, other: Time) -> bool:
        if not isinstance(other, Time):
            return NotImplemented
        self._check_clock(other)
        return self._nanoseconds < other._nanoseconds

    def __le__(self, other: Time) -> bool:
        if not isinstance(other, Time):
            return NotImplemented
        self._check_clock(other)
        return self._nanoseconds <= other._nanoseconds

    def __gt__(self, other: Time) -> bool:
        if not isinstance(other, Time):
            return NotImplemented
        return not self <= other

    def __ge__(self, other: Time) -> bool:
        if not isinstance(other, Time):
            return NotImplemented
        return not self < other


CONVERSION_CONSTANT = S_TO_NS
