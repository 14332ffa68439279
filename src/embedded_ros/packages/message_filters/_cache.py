"""Cache filter: the last messages of a stream."""

from __future__ import annotations

from collections import deque
from typing import Any

from rclpy.time import Time

from message_filters._simple_filter import SimpleFilter
from message_filters._stamps import stamp_of


class Cache(SimpleFilter):
    """Keeps the last ``cache_size`` messages, in order of arrival, and passes them on."""

    def __init__(self, f: SimpleFilter, cache_size: int = 1, allow_headerless: bool = False):
        super().__init__()
        self.cache_size = cache_size
        self.allow_headerless = allow_headerless
        self._entries: deque[tuple[Time, Any]] = deque(maxlen=cache_size)
        self.connectInput(f)

    def connectInput(self, f: SimpleFilter) -> None:
        self.incoming_connection = f.registerCallback(self.add)

    @property
    def cache_msgs(self) -> list[Any]:
        return [message for _, message in list(self._entries)]

    @property
    def cache_times(self) -> list[Time]:
        return [stamp for stamp, _ in list(self._entries)]

    def add(self, msg: Any) -> None:
        stamp = stamp_of(msg, self.allow_headerless, "message_filters_cache")
        if stamp is not None:
            self._entries.append((stamp, msg))
            self.signalMessage(msg)

    def getInterval(self, from_stamp: Time, to_stamp: Time) -> list[Any]:
        """Return the messages stamped between the two times, inclusive."""
        assert from_stamp <= to_stamp
        return [m for stamp, m in list(self._entries) if from_stamp <= stamp <= to_stamp]

    def getElemAfterTime(self, stamp: Time) -> Any:
        """Return the first message at or after a time, or None."""
        return next((m for time, m in list(self._entries) if time >= stamp), None)

    def getElemBeforeTime(self, stamp: Time) -> Any:
        """Return the last message at or before a time, or None."""
        return next((m for time, m in reversed(list(self._entries)) if time <= stamp), None)

    def getLatestTime(self) -> Time | None:
        """Return the time of the last message received."""
        return self._entries[-1][0] if self._entries else None

    def getLastestTime(self) -> Time | None:
        """Like ``getLatestTime``; this spelling exists in all ROS releases."""
        return self.getLatestTime()

    def getOldestTime(self) -> Time | None:
        """Return the time of the first message received."""
        return self._entries[0][0] if self._entries else None

    def getLast(self) -> Any:
        """Return the last message received, or None."""
        return self._entries[-1][1] if self._entries else None
