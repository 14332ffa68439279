"""Background thread that runs the image teachers on keyframes while the map is trained.

The worker requests the next keyframe when it is free, newest first, so there is no queue that could
overflow. Keyframes that were removed in the meantime are never processed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from semantic_field.kernels.threads import become_background
from semantic_field.teachers.image_teachers import ImageTargets, TeacherInput

log = logging.getLogger(__name__)
IDLE_WAIT_S = 0.5
STOP_WAIT_S = 5.0  # a teacher may need minutes for a keyframe
GIVE_UP_AFTER = 3  # failures in a row
THREAD = "teachers"


@dataclass(frozen=True)
class TeacherStatus:
    """Status of the image teachers.

    Attributes:
        state: "off", "waiting", "running" or "failed" (see error).
        done: number of processed keyframes.
        backlog: number of keyframes that are not processed yet.
        failures: number of keyframes that failed.
        seconds: recent mean time per keyframe; 0 before the first.
        rate_hz: keyframes per second.
        error: the last failure; "" again after the next success.
        last_failure: the last failure, also after later successes.
    """

    state: str = "off"
    done: int = 0
    backlog: int = 0
    failures: int = 0
    seconds: float = 0.0
    error: str = ""
    last_failure: str = ""

    @property
    def rate_hz(self) -> float:
        return 1.0 / self.seconds if self.seconds > 0 else 0.0


class TeacherWorker:
    """Processes keyframes until stopped; keyframes that fail are skipped, mapping continues.

    After three failures in a row the worker ends, with the reason in its status.

    Args:
        look: runs the teachers.
        next_input: returns the next keyframe, except those with the given serials; None = none.
        deliver: receives the outputs. Both are called in the worker's thread.
        backlog: returns the number of waiting keyframes, except those with the given serials.
        threads: torch threads of the teachers.
    """

    def __init__(
        self,
        look: Callable[[TeacherInput], ImageTargets],
        next_input: Callable[[frozenset[int]], TeacherInput | None],
        deliver: Callable[[TeacherInput, ImageTargets], None],
        backlog: Callable[[frozenset[int]], int],
        threads: int = 1,
    ) -> None:
        self._look, self._next, self._deliver = look, next_input, deliver
        self._backlog, self._threads = backlog, threads
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._failed: frozenset[int] = frozenset()
        self._done, self._in_a_row, self._seconds = 0, 0, 0.0
        self._error = self._last_failure = ""

    def start(self) -> None:
        """Start, or restart after ``stop`` or a failure."""
        if self._thread is None or not self._thread.is_alive():
            self._stopping = threading.Event()  # an abandoned run keeps its own event
            self._in_a_row, self._error = 0, ""
            thread = threading.Thread(
                target=self._run, args=(self._stopping,), name=THREAD, daemon=True
            )
            thread.start()
            self._thread = thread  # set and not alive means that it has failed

    def stop(self) -> None:
        """Stop; waits ``STOP_WAIT_S``, then abandons a keyframe in progress without its result."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(STOP_WAIT_S)
            self._thread = None

    def wake(self) -> None:
        """Notify the worker of a new keyframe."""
        self._wake.set()

    def status(self) -> TeacherStatus:
        """Return the current status without waiting."""
        thread, backlog = self._thread, self._backlog(self._failed)
        alive = thread is not None and thread.is_alive()
        ended = thread is not None and not alive and not self._stopping.is_set()
        state = "running" if backlog else "waiting"
        if self._in_a_row >= GIVE_UP_AFTER or ended:
            state = "failed"
        elif not alive:
            state = "off"
        return TeacherStatus(
            state=state,
            done=self._done,
            backlog=backlog,
            failures=len(self._failed),
            seconds=self._seconds,
            error=self._error,
            last_failure=self._last_failure,
        )

    def _run(self, stopping: threading.Event) -> None:
        become_background()
        torch.set_num_threads(self._threads)
        try:
            while not stopping.is_set() and self._in_a_row < GIVE_UP_AFTER:
                self._wake.clear()
                self._look_once(stopping)
        except Exception as error:  # not from a teacher; reported in the status by ``_note``
            self._note(error)
            log.exception("the teachers of images stopped")

    def _look_once(self, stopping: threading.Event) -> None:
        """Process the next keyframe, or wait if there is none."""
        image = self._next(self._failed)
        if image is None:
            self._wake.wait(IDLE_WAIT_S)
            return
        started = time.monotonic()
        targets = self._targets_of(image)
        if targets is not None and not stopping.is_set():
            self._deliver(image, targets)
            self._count(time.monotonic() - started)

    def _targets_of(self, image: TeacherInput) -> ImageTargets | None:
        """Run the teachers on a keyframe; returns None if they fail, which is recorded."""
        try:
            targets = self._look(image)
        except Exception as error:  # of any library; counted, logged and reported in the status
            self._failed |= {image.serial}
            self._in_a_row += 1
            self._note(error)
            log.error("keyframe %d was not looked at: %s", image.serial, self._error)
            return None
        self._in_a_row, self._error = 0, ""
        return targets

    def _note(self, error: Exception) -> None:
        self._error = self._last_failure = f"{type(error).__name__}: {error}"

    def _count(self, seconds: float) -> None:
        self._done += 1
        self._seconds = 0.8 * self._seconds + 0.2 * seconds if self._seconds else seconds
