"""Executors: wait for messages, requests, responses and timers, and run the callbacks."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rclpy._executor import (
    ConditionReachedException,
    Executor,
    ExternalShutdownException,
    Job,
    ShutdownException,
    TimeoutException,
)

__all__ = [
    "ConditionReachedException",
    "Executor",
    "ExternalShutdownException",
    "MultiThreadedExecutor",
    "ShutdownException",
    "SingleThreadedExecutor",
    "TimeoutException",
]


class SingleThreadedExecutor(Executor):
    """Runs callbacks in the thread that spins."""

    def _run_job(self, job: Job) -> None:
        self._execute(job)


class MultiThreadedExecutor(Executor):
    """Runs callbacks in a thread pool; their exceptions are raised in the spinning thread. When
    the context is shut down, ``spin`` returns without ExternalShutdownException."""

    _ends_quietly = (*Executor._ends_quietly, ExternalShutdownException)

    def __init__(self, num_threads: int | None = None, *, context: Any = None) -> None:
        super().__init__(context=context)
        count = num_threads or max(2, os.cpu_count() or 2)
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="ros_executor")
        # Take messages only for free threads: others wait in their subscription's queue.
        self._free = threading.Semaphore(count)

    def _run_job(self, job: Job) -> None:
        while not self._free.acquire(timeout=0.1):
            if self._is_shutdown:
                job.finish()
                return
        self._executor.submit(self._work, job)

    def _work(self, job: Job) -> None:
        try:
            self._execute(job)
        except BaseException as error:
            self._error = error
        finally:
            self._free.release()
            self.wake()

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        done = super().shutdown(timeout_sec)
        self._executor.shutdown(wait=timeout_sec is None, cancel_futures=True)
        return done
