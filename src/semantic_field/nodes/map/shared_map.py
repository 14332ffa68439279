"""Passes the newest map by reference from the mapping node to its readers in the same process.

rclpy has no intra-process communication: snapshots are serialised and parsed even within one
process. Snapshots are still published for other processes; a query or inference node that finds the
map here need not parse it, and shares the extracted surface with the mapping node.
"""

from __future__ import annotations

import threading

from semantic_field.field.map_file import checksum_of
from semantic_field.field.map_state import MapState


class SharedMap:
    """Holds one map, identified by the checksum of its bytes; holds nothing until ``open``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = False
        self._newest: tuple[str, MapState] | None = None

    def open(self, shared: bool = True) -> None:
        """Enable sharing: for processes with a mapping node and a reader of its map."""
        with self._lock:
            self._open, self._newest = shared, None

    def offer(self, state: MapState, data: bytes) -> None:
        """Store the map whose serialised bytes are ``data``, replacing the previous one."""
        with self._lock:
            if self._open:
                self._newest = checksum_of(data), state

    def take(self, data: bytes) -> MapState | None:
        """Return the map serialised as ``data`` if it is the newest of this process, else None."""
        with self._lock:
            if self._newest is None or checksum_of(data) != self._newest[0]:
                return None
            return self._newest[1]


OF_THIS_PROCESS = SharedMap()
