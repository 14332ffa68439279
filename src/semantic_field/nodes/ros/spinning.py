"""Spins an executor in a background thread, with an orderly shutdown."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rclpy.executors import Executor, ExternalShutdownException


class Spinning:
    """Runs an executor's callbacks in a thread until ``stop``; ``at_end`` is called when it ends.

    If an rclpy executor is shut down while it spins, its guard condition is destroyed while
    callbacks that just started still use it. They fail silently with "cannot use Destroyable" or
    "'NoneType' object has no attribute 'trigger'". Here spinning ends first, then the callbacks,
    then the executor. An exception in a callback ends the thread (threading.excepthook).
    """

    def __init__(self, executor: Executor, at_end: Callable[[], None] = lambda: None) -> None:
        self.executor, self._at_end = executor, at_end
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="spin", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while self.executor.context.ok() and not self._stopping:
                self.executor.spin_once()
        except ExternalShutdownException:
            return
        finally:
            self._at_end()

    @property
    def is_alive(self) -> bool:
        """Return True while callbacks are served."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Stop and wait for the last callback; never call it from a callback. Idempotent."""
        self._stopping = True
        if self._thread.is_alive():
            self.executor.create_task(lambda: None)  # wakes the executor
        self._thread.join()
        pool = getattr(self.executor, "_executor", None)
        if pool is not None:  # MultiThreadedExecutor: its shutdown does not wait for the pool
            pool.shutdown()
        self.executor.shutdown()
