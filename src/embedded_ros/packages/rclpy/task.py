"""Futures and tasks of an executor."""

from __future__ import annotations

import inspect
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Generator
from typing import Any


class Future:
    """A result that comes later; may be awaited in coroutine callbacks."""

    def __init__(self, *, executor: Any = None) -> None:
        self._done = False
        self._cancelled = False
        self._result: Any = None
        self._exception: BaseException | None = None
        self._exception_fetched = False
        self._callbacks: list[Callable[[Future], None]] = []
        self._lock = threading.Lock()
        self._executor = weakref.ref(executor) if executor is not None else lambda: None

    def __del__(self) -> None:
        if self._exception is not None and not self._exception_fetched and not sys.is_finalizing():
            warnings.warn(
                f"The exception of a future was never retrieved: {self._exception!r}",
                stacklevel=2,
            )

    def __await__(self) -> Generator[Future, None, Any]:
        while not self.done():
            yield self
        return self.result()

    def cancel(self) -> None:
        self._finish(cancelled=True)

    def cancelled(self) -> bool:
        return self._cancelled

    def done(self) -> bool:
        return self._done or self._cancelled

    def result(self) -> Any:
        """The result, None where there is none yet; raises the exception that was set."""
        if self._exception is not None:
            self._exception_fetched = True
            raise self._exception
        return self._result

    def exception(self) -> BaseException | None:
        self._exception_fetched = True
        return self._exception

    def set_result(self, result: Any) -> None:
        self._finish(result=result)

    def set_exception(self, exception: BaseException) -> None:
        self._finish(exception=exception)

    def _finish(
        self,
        result: Any = None,
        exception: BaseException | None = None,
        cancelled: bool = False,
    ) -> None:
        with self._lock:
            if self.done():
                return
            self._result, self._exception = result, exception
            self._done, self._cancelled = not cancelled, cancelled
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            self._schedule(callback)

    def _schedule(self, callback: Callable[[Future], None]) -> None:
        executor = self._executor()
        if executor is not None and not isinstance(callback, _Direct):
            executor.create_task(callback, self)
        else:
            callback(self)

    def _set_executor(self, executor: Any) -> None:
        self._executor = weakref.ref(executor) if executor is not None else lambda: None

    def add_done_callback(self, callback: Callable[[Future], None]) -> None:
        """Call ``callback(future)`` when done: in the executor where there is one, else at once."""
        with self._lock:
            if not self.done():
                self._callbacks.append(callback)
                return
        self._schedule(callback)

    def remove_done_callback(self, callback: Callable[[Future], None]) -> bool:
        with self._lock:
            before = len(self._callbacks)
            self._callbacks = [item for item in self._callbacks if item != callback]
            return len(self._callbacks) != before

    def _when_done(self, callback: Callable[[], None]) -> None:
        """Call ``callback()`` from whichever thread finishes this future."""
        with self._lock:
            if not self.done():
                self._callbacks.insert(0, _Direct(callback))
                return
        callback()


class _Direct:
    """A done callback that is never put off to an executor."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback

    def __call__(self, future: Future) -> None:
        self.callback()


class Task(Future):
    """A function or coroutine that an executor runs; the future of its result."""

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
            The future that the coroutine waits for; None where it did not say, or is done.
        """
        if self.done() or not self._executing.acquire(blocking=False):
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

    def cancel(self) -> None:
        if inspect.iscoroutine(self._handler):
            self._handler.close()
        super().cancel()
