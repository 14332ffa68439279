"""The thread that trains a map."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import torch

log = logging.getLogger(__name__)


class Worker:
    """Calls ``work`` again and again in a thread of its own, until it is stopped or ``work`` fails.

    Args:
        work: one piece of work; waits a little where there is none.
        wake: ends such a wait.
    Attributes:
        error: why the thread ended by itself, "" while all is well.
    """

    def __init__(self, work: Callable[[], None], wake: Callable[[], None]) -> None:
        self._work, self._wake, self.error = work, wake, ""
        self._stopping = False
        self._thread: threading.Thread | None = None

    @property
    def is_started(self) -> bool:
        """Whether ``start`` was called, and ``stop`` was not since."""
        return self._thread is not None

    @property
    def is_stopping(self) -> bool:
        """Whether the thread has to end after the present piece of work."""
        return self._stopping

    def start(self) -> None:
        """Work until ``stop``."""
        self._stopping, self.error = False, ""
        self._thread = threading.Thread(target=self._run, name="mapper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping = True
            self._wake()
            thread.join()

    def _run(self) -> None:
        try:
            torch.set_num_threads(1)  # the kernels' threads share the work, see field.affine
            while not self._stopping:
                self._work()
        except Exception as error:  # whatever it was: the thread ends, and the status says why
            self.error = f"{type(error).__name__}: {error}"
            log.exception("training stopped")
