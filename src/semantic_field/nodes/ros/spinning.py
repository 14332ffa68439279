"""Spinning in a thread of its own, with an orderly end."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rclpy.executors import Executor, ExternalShutdownException


class Spinning:
    """Runs an executor's callbacks in a thread until ``stop``; ``at_end`` is called when it ends.

    An executor of rclpy's that is shut down while it spins loses its guard condition under the
    feet of the callbacks that have just begun. They fail with "cannot use Destroyable" or
    "'NoneType' object has no attribute 'trigger'", seen by nobody. Here spinning ends first, then
    the callbacks, then the executor. What a callback raises ends the thread (threading.excepthook).
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
        """Whether callbacks are still served."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Return when the last callback has ended; never from a callback. Again does nothing."""
        self._stopping = True
        if self._thread.is_alive():
            self.executor.create_task(lambda: None)  # wakes it
        self._thread.join()
        pool = getattr(self.executor, "_executor", None)
        if pool is not None:  # a MultiThreadedExecutor's, which its own shutdown does not wait for
            pool.shutdown()
        self.executor.shutdown()
