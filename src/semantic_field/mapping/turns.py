"""A fair lock between one busy loop and occasional visitors."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Mutual exclusion between one busy loop and occasional visitors.

    A plain lock that a loop releases and reacquires at once starves all others; here the loop waits
    before its next turn while visitors are waiting.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Number of visitors that wait for the lock or let the loop rest."""
        return self._waiting

    @contextmanager
    def rest(self) -> Iterator[None]:
        """Context manager during which the loop takes no turn; visitors still can."""
        with self._counting:
            self._waiting += 1
        try:
            yield
        finally:
            with self._counting:
                self._waiting -= 1

    @contextmanager
    def visit(self) -> Iterator[None]:
        """Context manager for a visitor: waits for the end of the loop's current turn."""
        with self.rest():
            self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Context manager for one turn of the loop."""
        while self._waiting:
            time.sleep(0.0005)
        with self._lock:
            yield
