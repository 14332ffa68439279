"""The newest map by reference, from a mapping node to a query node of the same process.

rclpy has no communication within a process: a snapshot is made of bytes and read again even
there. The bytes are published all the same, for everybody else; who finds the map here need not
read them, and has one surface with the mapping node in place of one of its own.
"""

from __future__ import annotations

import threading

from semantic_field.field.map_file import checksum_of
from semantic_field.field.map_state import MapState


class SharedMap:
    """A place for one map, known by the checksum of its bytes; empty until ``open``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = False
        self._newest: tuple[str, MapState] | None = None

    def open(self, shared: bool = True) -> None:
        """Keep maps from now on: where nodes of both kinds are in this process."""
        with self._lock:
            self._open, self._newest = shared, None

    def offer(self, state: MapState, data: bytes) -> None:
        """Keep the map whose bytes are ``data``, in place of the one before."""
        with self._lock:
            if self._open:
                self._newest = checksum_of(data), state

    def take(self, data: bytes) -> MapState | None:
        """The map whose bytes these are, if it was made in this process and is still the newest."""
        with self._lock:
            if self._newest is None or checksum_of(data) != self._newest[0]:
                return None
            return self._newest[1]


OF_THIS_PROCESS = SharedMap()
