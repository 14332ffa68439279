"""Queue of one for each kind of work: the newest replaces what nobody has begun."""

from __future__ import annotations

import threading
from collections.abc import Callable

Work = Callable[[], None]


class LatestWork:
    """Work for one thread, done in the order in which its kinds were first put in."""

    def __init__(self) -> None:
        self._waiting: dict[str, Work] = {}
        self._changed = threading.Condition()
        self._stopping = False

    def put(self, kind: str, work: Work) -> bool:
        """Have ``work`` done; returns True if it took the place of work of the same kind."""
        with self._changed:
            replaced = kind in self._waiting
            self._waiting[kind] = work
            self._changed.notify()
            return replaced

    def clear(self) -> None:
        """Forget what nobody has begun."""
        with self._changed:
            self._waiting.clear()

    def run(self) -> None:
        """Do the work until ``stop``; what is being done is finished."""
        while (work := self._next()) is not None:
            work()

    def _next(self) -> Work | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            if self._stopping:
                return None
            return self._waiting.pop(next(iter(self._waiting)))

    def stop(self) -> None:
        """Let ``run`` return."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
