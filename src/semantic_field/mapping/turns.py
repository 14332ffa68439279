"""A lock that a busy loop cannot keep from others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Mutual exclusion between one loop that works without rest and occasional visitors.

    A plain lock that a loop releases and takes again at once starves everybody else; here the
    loop waits at its next turn while visitors are waiting.
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
        """The loop takes no turn meanwhile; visitors come and go."""
        with self._counting:
            self._waiting += 1
        try:
            yield
        finally:
            with self._counting:
                self._waiting -= 1

    @contextmanager
    def visit(self) -> Iterator[None]:
        """Held by a visitor: gets in after the loop's current turn."""
        with self.rest():
            self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Held by the loop for one piece of work."""
        while self._waiting:
            time.sleep(0.0005)
        with self._lock:
            yield
