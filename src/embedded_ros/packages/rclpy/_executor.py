"""Executor base class: waits for messages, requests, responses and timers."""

from __future__ import annotations

import contextlib
import inspect
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from embedded_ros import dds
from rclpy._rclpy_pybind11 import RCLError
from rclpy.task import Future, Task
from rclpy.utilities import get_default_context

# The main thread waits this long itself, to avoid a thread switch for events that come soon.
MAIN_THREAD_NS = 50_000_000


class TimeoutException(Exception):
    """A wait timed out."""


class ShutdownException(Exception):
    """The executor was shut down."""


class ExternalShutdownException(Exception):
    """The context was shut down, by a signal for instance."""

    def __init__(self, *args: object) -> None:
        super().__init__("context has been shutdown externally", *args)


class ConditionReachedException(Exception):
    """The awaited condition is met."""


class Job:
    """One callback to run, with its entity and callback group."""

    def __init__(self, call: Callable[[], Any], entity: Any = None, group: Any = None) -> None:
        self.call, self.entity, self.group = call, entity, group

    def finish(self) -> None:
        if self.group is not None:
            self.group.ending_execution(self.entity)


class Executor:
    """Base class; subclasses define in ``_run_job`` how callbacks are run."""

    # Exceptions that end a ``spin_once`` silently.
    _ends_quietly: tuple = (TimeoutException, ShutdownException, ConditionReachedException)

    def __init__(self, *, context: Any = None) -> None:
        self._context = get_default_context() if context is None else context
        self._nodes: list[Any] = []
        self._nodes_lock = threading.RLock()
        self._is_shutdown = False
        self._tasks: deque[Job] = deque()
        self._triggered: deque[Any] = deque()
        self._entities_changed = True
        self._by_condition: dict[int, Any] = {}
        self._timers: list[Any] = []
        self._wait_set: dds.WaitSet | None = None
        self._guard: dds.GuardCondition | None = None
        self._wait_lock = threading.Lock()
        self._error: BaseException | None = None
        self._context._executors.add(self)

    @property
    def context(self) -> Any:
        return self._context

    # --- nodes and tasks ----------------------------------------------------------------------

    def add_node(self, node: Any) -> bool:
        """Run the callbacks of this node; returns False if it was already added."""
        with self._nodes_lock:
            if node in self._nodes:
                return False
            self._nodes.append(node)
            node.executor = self
        self._on_entities_changed()
        return True

    def remove_node(self, node: Any) -> None:
        with self._nodes_lock:
            if node in self._nodes:
                self._nodes.remove(node)
        self._on_entities_changed()

    def get_nodes(self) -> list[Any]:
        with self._nodes_lock:
            return list(self._nodes)

    def create_task(self, callback: Any, *args: Any, **kwargs: Any) -> Task:
        """Run a function or coroutine in this executor; returns the future of its result.

        An exception is also raised in the thread that spins.
        """
        if self._is_shutdown:
            raise RuntimeError("the executor was shut down: it runs no more tasks")
        task = Task(callback, args, kwargs, executor=self)
        self._tasks.append(Job(lambda: self._step_task(task)))
        self.wake()
        return task

    def _step_task(self, task: Task, job: Job | None = None) -> None:
        """Run a task up to its next await; it is continued once the awaited future is done."""
        awaited = task()
        if task.done():
            if job is not None:
                job.finish()
            self.wake()
            task.result()  # raises the task's exception
            return

        def go_on() -> None:
            self._tasks.append(Job(lambda: self._step_task(task, job)))
            self.wake()

        if isinstance(awaited, Future):
            awaited._when_done(go_on)
        else:
            go_on()

    def wake(self) -> None:
        """Wake the waiting thread."""
        guard = self._guard
        if guard is not None:
            guard.trigger()

    def _on_entities_changed(self) -> None:
        self._entities_changed = True
        self.wake()

    # --- spinning -----------------------------------------------------------------------------

    def spin(self) -> None:
        """Run callbacks until shutdown.

        Raises:
            ExternalShutdownException: if the context was shut down meanwhile.
        """
        while self._context.ok() and not self._is_shutdown:
            self.spin_once()

    def spin_until_future_complete(self, future: Future, timeout_sec: float | None = None) -> None:
        """Run callbacks until ``future`` is done, or for ``timeout_sec``."""
        future._when_done(self.wake)
        end = _end(timeout_sec)
        while self._context.ok() and not self._is_shutdown and not future.done():
            self._spin_once(_left(end), future.done)
            if end is not None and time.monotonic() >= end:
                return

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Run one callback, waiting for it up to ``timeout_sec`` (None or < 0: no limit)."""
        self._spin_once(timeout_sec, lambda: False)

    def spin_once_until_future_complete(
        self, future: Future, timeout_sec: float | None = None
    ) -> None:
        """Run one callback, unless ``future`` is done or ``timeout_sec`` has passed first."""
        future._when_done(self.wake)
        self._spin_once(timeout_sec, future.done)

    def _spin_once(self, timeout_sec: float | None, enough: Callable[[], bool]) -> None:
        with contextlib.suppress(*self._ends_quietly):
            self._run_job(self._next_job(timeout_sec, enough))

    def _run_job(self, job: Job) -> None:
        raise AssertionError("each executor runs callbacks in its own way")

    def _execute(self, job: Job) -> None:
        """Run a callback; a coroutine function becomes a task that keeps its callback group until
        it is done. As in rclpy, a coroutine returned by a plain function is not awaited."""
        try:
            result = job.call()
        except BaseException:
            job.finish()
            raise
        if inspect.iscoroutine(result) and inspect.iscoroutinefunction(job.entity.callback):
            coroutine = result

            async def whole() -> Any:
                return await coroutine

            self._step_task(Task(whole, executor=self), job)
        else:
            job.finish()

    # --- waiting ------------------------------------------------------------------------------

    def _next_job(self, timeout_sec: float | None, enough: Callable[[], bool]) -> Job:
        """Wait for and return the next callback that may run.

        Raises:
            TimeoutException, ConditionReachedException, ShutdownException,
            ExternalShutdownException: the reason if there is none.
        """
        end = _end(timeout_sec)
        with self._wait_lock:
            while True:
                self._check_running(enough)
                job = self._ready_job()
                if job is not None:
                    return job
                if end is not None and time.monotonic() >= end:
                    self._wait(0)
                    job = self._ready_job()
                    if job is not None:
                        return job
                    raise TimeoutException
                self._wait(None if end is None else max(0, int((end - time.monotonic()) * 1e9)))

    def _check_running(self, enough: Callable[[], bool]) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if self._is_shutdown:
            raise ShutdownException
        if self._context._at_exit:
            # Only daemon threads are left, which end silently with the interpreter.
            threading.Event().wait()
        if not self._context.ok():
            raise ExternalShutdownException
        if enough():
            raise ConditionReachedException

    def _ready_job(self) -> Job | None:
        self._refresh_entities()
        if self._tasks:
            return self._tasks.popleft()
        for timer in self._timers:
            if timer.is_ready() and (job := self._take(timer)) is not None:
                return job
        while self._triggered:
            job = self._take(self._triggered.popleft())
            if job is not None:
                return job
        return None

    def _take(self, entity: Any) -> Job | None:
        group = entity.callback_group
        if group is not None and not group.beginning_execution(entity):
            return None
        try:
            call = entity._take_job()
        except BaseException:
            if group is not None:
                group.ending_execution(entity)
            raise
        if call is None:
            if group is not None:
                group.ending_execution(entity)
            return None
        return Job(call, entity, group)

    def _refresh_entities(self) -> None:
        if not self._entities_changed:
            return
        self._entities_changed = False
        self._timers = [timer for node in self.get_nodes() for timer in node.timers]
        self._by_condition = {
            entity._condition: entity
            for node in self.get_nodes()
            for entity in node._waitable_entities()
        }

    def _wait(self, timeout_ns: int | None) -> None:
        """Wait for DDS events; stores the triggered conditions in ``_triggered``."""
        if self._wait_set is None or self._guard is None:
            try:
                self._wait_set = dds.WaitSet(self._context.participant)
                self._guard = dds.GuardCondition(self._context.participant)
            except RCLError:
                if self._context.ok():
                    raise
                return  # shut down since the last check: the caller checks again
        conditions = [self._guard.condition]
        for condition, entity in list(self._by_condition.items()):
            group = entity.callback_group
            if group is None or group.can_execute(entity):
                conditions.append(condition)
        self._wait_set.attach_only(conditions)
        if self._entities_changed or self._tasks or not self._context.ok():
            return  # they may have been added before the guard existed
        found = self._wait_for_trigger(self._wait_set, self._guard, self._limit_ns(timeout_ns))
        self._guard.take()
        for condition in found or ():
            entity = self._by_condition.get(condition)
            if entity is not None:
                self._triggered.append(entity)

    @staticmethod
    def _wait_for_trigger(
        wait_set: dds.WaitSet, guard: dds.GuardCondition, limit_ns: int
    ) -> list[int] | None:
        """Wait in such a way that Python can still run signal handlers in the main thread.

        It cannot while the main thread is in C code, so after a short time a helper thread waits.
        """
        if threading.current_thread() is not threading.main_thread():
            return wait_set.wait(limit_ns)
        found = wait_set.wait(min(limit_ns, MAIN_THREAD_NS))
        if found != [] or limit_ns <= MAIN_THREAD_NS:
            return found
        waiter = threading.Thread(
            target=lambda: found.extend(wait_set.wait(limit_ns - MAIN_THREAD_NS) or ()),
            daemon=True,
        )
        waiter.start()
        try:
            waiter.join()
        finally:  # KeyboardInterrupt
            guard.trigger()
            waiter.join()
        return found

    def _limit_ns(self, timeout_ns: int | None) -> int:
        """Return the time to wait, ns: at most until the next timer."""
        limits = [
            timer._real_time_until_ready_ns()
            for timer in self._timers
            if timer.callback_group is None or timer.callback_group.can_execute(timer)
        ]
        limits.append(timeout_ns)
        known = [limit for limit in limits if limit is not None]
        return min(known) if known else dds.INFINITE_NS

    # --- shutdown -----------------------------------------------------------------------------

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """Stop spinning and remove the nodes; returns False if a callback did not end in time."""
        self._is_shutdown = True
        self.wake()
        acquired = self._wait_lock.acquire(timeout=-1 if timeout_sec is None else timeout_sec)
        if not acquired:
            return False
        try:
            for item in (self._wait_set, self._guard):
                if item is not None:
                    item.close()
            self._wait_set = self._guard = None
        finally:
            self._wait_lock.release()
        with self._nodes_lock:
            self._nodes.clear()
        return True

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.shutdown()


def _end(timeout_sec: float | None) -> float | None:
    return None if timeout_sec is None or timeout_sec < 0 else time.monotonic() + timeout_sec


def _left(end: float | None) -> float | None:
    return None if end is None else max(0.0, end - time.monotonic())
