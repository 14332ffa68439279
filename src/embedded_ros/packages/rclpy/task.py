"""Futures and tasks of an executor, with the semantics of rclpy (Jazzy)."""

from __future__ import annotations

import inspect
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Generator
from typing import Any


class Future:
    """A result that is set later; may be awaited in coroutine callbacks.

    ``cancel`` is only a request: a cancelled future is not done and may still get a result.
    """

    def __init__(self, *, executor: Any = None) -> None:
        self._done = False
        self._cancelled = False
        self._result: Any = None
        self._exception: BaseException | None = None
        self._exception_fetched = False
        self._callbacks: list[Callable[[Future], Any]] = []
        self._wakers: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._set_executor(executor)

    def __del__(self) -> None:
        if self._exception is not None and not self._exception_fetched:
            text = f"The following exception was never retrieved: {self._exception}"
            print(text, file=sys.stderr)

    def __await__(self) -> Generator[Future, None, Any]:
        while not self._done:
            yield self
        return self.result()

    def cancel(self) -> None:
        """Request cancellation; the done callbacks are called."""
        with self._lock:
            if not self._done:
                self._cancelled = True
        self._call_back()

    def cancelled(self) -> bool:
        return self._cancelled

    def done(self) -> bool:
        """Return True if there is a result or an exception."""
        return self._done

    def result(self) -> Any:
        """Return the result, None if there is none yet; raises the exception if one was set."""
        if self._exception is not None:
            raise self.exception()
        return self._result

    def exception(self) -> Any:
        self._exception_fetched = True
        return self._exception

    def set_result(self, result: Any) -> None:
        """Complete the future; a second result replaces the first."""
        with self._lock:
            self._result = result
            self._done, self._cancelled = True, False
        self._wake()
        self._call_back()

    def set_exception(self, exception: BaseException) -> None:
        """Complete the future with an exception, which ``result`` will raise."""
        with self._lock:
            self._exception, self._exception_fetched = exception, False
            self._done, self._cancelled = True, False
        self._wake()
        self._call_back()

    def _call_back(self) -> None:
        """Call the done callbacks once: in the executor, or here if there is none."""
        with self._lock:
            executor = self._executor()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            if executor is not None:
                executor.create_task(callback, self)
                continue
            try:
                callback(self)
            except Exception as error:  # warn like rclpy, and call the other callbacks
                warnings.warn(f"Unhandled exception in done callback: {error}", stacklevel=3)

    def _wake(self) -> None:
        with self._lock:
            wakers, self._wakers = self._wakers, []
        for waker in wakers:
            waker()

    def _set_executor(self, executor: Any) -> None:
        self._executor = (lambda: None) if executor is None else weakref.ref(executor)

    def add_done_callback(self, callback: Callable[[Future], Any]) -> None:
        """Call ``callback(future)`` when done: in the executor if there is one, else at once."""
        with self._lock:
            executor = self._executor()
            if not self._done:
                self._callbacks.append(callback)
                return
        if executor is not None:
            executor.create_task(callback, self)
        else:
            callback(self)

    def _when_done(self, waker: Callable[[], None]) -> None:
        """Call ``waker()`` in the thread that completes this future."""
        with self._lock:
            if not self._done:
                self._wakers.append(waker)
                return
        waker()


class Task(Future):
    """A function or coroutine run by an executor; also the future of its result."""

    def __init__(
        self,
        handler: Callable[..., Any],
        args: tuple | None = None,
        kwargs: dict | None = None,
        executor: Any = None,
    ) -> None:
        super().__init__(executor=executor)
        self._args, self._kwargs = args or (), kwargs or {}
        self._handler: Any = handler
        if inspect.iscoroutinefunction(handler):
            self._handler = handler(*self._args, **self._kwargs)
        self._executing = threading.Lock()

    def __call__(self) -> Future | None:
        """Run to the end, or to the next await.

        Returns:
            The future that the coroutine waits for; None if unknown, or if the task is done.
        """
        if self._done or not self._executing.acquire(blocking=False):
            return None
        try:
            if inspect.iscoroutine(self._handler):
                return self._step()
            self.set_result(self._handler(*self._args, **self._kwargs))
        except Exception as error:
            self.set_exception(error)
        finally:
            self._executing.release()
        return None

    def _step(self) -> Future | None:
        try:
            return self._handler.send(None)
        except StopIteration as stop:
            self.set_result(stop.value)
        return None

    def executing(self) -> bool:
        return self._executing.locked()
