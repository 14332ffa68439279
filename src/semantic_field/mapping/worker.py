"""The thread that trains a map."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import torch

log = logging.getLogger(__name__)


class Worker:
    """Calls ``work`` repeatedly in a thread, until it is stopped or ``work`` raises an error.

    Args:
        work: does one piece of work; waits a little if there is none.
        wake: ends this wait.
    Attributes:
        error: the error that ended the thread, "" if there was none.
    """

    def __init__(self, work: Callable[[], None], wake: Callable[[], None]) -> None:
        self._work, self._wake, self.error = work, wake, ""
        self._stopping = False
        self._thread: threading.Thread | None = None

    @property
    def is_started(self) -> bool:
        """Whether ``start`` has been called, and not ``stop`` since then."""
        return self._thread is not None

    @property
    def is_stopping(self) -> bool:
        """Whether the thread shall end after the current piece of work."""
        return self._stopping

    def start(self) -> None:
        """Start the thread; it works until ``stop``."""
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
            torch.set_num_threads(1)  # work is split over the kernels' threads, see field.affine
            while not self._stopping:
                self._work()
        except Exception as error:  # any error ends the thread and is reported in the status
            self.error = f"{type(error).__name__}: {error}"
            log.exception("training stopped")
