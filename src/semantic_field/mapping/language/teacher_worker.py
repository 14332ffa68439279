"""A thread in which teachers look at keyframes, while the map goes on training.

The worker asks for the next keyframe when it is free, so that there is no queue to overflow: what
waits are the keyframes that the map holds anyway, the newest is asked for first, and one that has
left the map is never looked at.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from semantic_field.kernels.threads import become_background
from semantic_field.teachers.image_teachers import ImageTargets, Sight

log = logging.getLogger(__name__)
IDLE_WAIT_S = 0.5
STOP_WAIT_S = 5.0  # a teacher may need minutes for a keyframe
GIVE_UP_AFTER = 3  # failures in a row
THREAD = "teachers"


@dataclass(frozen=True)
class TeacherStatus:
    """The teachers of images at one moment.

    Attributes:
        state: "off", "waiting", "running" or "failed" (see error).
        done: keyframes looked at. backlog: keyframes that wait.
        failures: keyframes that could not be looked at.
        seconds: for one keyframe, recent mean; 0 before the first.
        rate_hz: keyframes a second that this makes.
        error: the last failure, "" while all is well. last_failure: the same, and it stays.
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
    """Looks at keyframes until stopped; a keyframe that fails is left out, mapping goes on.

    After three failures in a row the worker ends, and its status says why.

    Args:
        look: the teachers.
        next_sight: the next keyframe to look at, without those of the given serials; None = none.
        deliver: takes what was seen. Both are called in the worker's thread.
        backlog: how many keyframes wait, without those of the given serials.
        threads: processor threads of torch for the teachers.
    """

    def __init__(
        self,
        look: Callable[[Sight], ImageTargets],
        next_sight: Callable[[frozenset[int]], Sight | None],
        deliver: Callable[[Sight, ImageTargets], None],
        backlog: Callable[[frozenset[int]], int],
        threads: int = 1,
    ) -> None:
        self._look, self._next, self._deliver = look, next_sight, deliver
        self._backlog, self._threads = backlog, threads
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._failed: frozenset[int] = frozenset()
        self._done, self._in_a_row, self._seconds = 0, 0, 0.0
        self._error = self._last_failure = ""

    def start(self) -> None:
        """Begin, or begin again after ``stop`` or a failure."""
        if self._thread is None or not self._thread.is_alive():
            self._stopping = threading.Event()  # a run that was left behind keeps its own
            self._in_a_row, self._error = 0, ""
            thread = threading.Thread(
                target=self._run, args=(self._stopping,), name=THREAD, daemon=True
            )
            thread.start()
            self._thread = thread  # a thread that is known and not alive has failed

    def stop(self) -> None:
        """End. A keyframe that takes long is left behind, and what is seen of it not delivered."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(STOP_WAIT_S)
            self._thread = None

    def wake(self) -> None:
        """There is something new to look at."""
        self._wake.set()

    def status(self) -> TeacherStatus:
        """Never waits."""
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
        except Exception as error:  # none of a teacher's; told in the status, see ``_note``
            self._note(error)
            log.exception("the teachers of images stopped")

    def _look_once(self, stopping: threading.Event) -> None:
        """Look at the next keyframe, or wait where there is none."""
        sight = self._next(self._failed)
        if sight is None:
            self._wake.wait(IDLE_WAIT_S)
            return
        started = time.monotonic()
        targets = self._seen(sight)
        if targets is not None and not stopping.is_set():
            self._deliver(sight, targets)
            self._count(time.monotonic() - started)

    def _seen(self, sight: Sight) -> ImageTargets | None:
        """What the teachers say of a keyframe; None where they fail, which is noted."""
        try:
            targets = self._look(sight)
        except Exception as error:  # of any library; counted, logged and told in the status
            self._failed |= {sight.serial}
            self._in_a_row += 1
            self._note(error)
            log.error("keyframe %d was not looked at: %s", sight.serial, self._error)
            return None
        self._in_a_row, self._error = 0, ""
        return targets

    def _note(self, error: Exception) -> None:
        self._error = self._last_failure = f"{type(error).__name__}: {error}"

    def _count(self, seconds: float) -> None:
        self._done += 1
        self._seconds = 0.8 * self._seconds + 0.2 * seconds if self._seconds else seconds
