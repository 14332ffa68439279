"""Side by side: callers do not wait for each other, tasks may have tasks, failures come back."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from semantic_field.kernels.threads import (
    BACKGROUND_NICE,
    become_background,
    run_parallel,
    run_shared,
    run_together,
)


def test_a_caller_is_never_kept_waiting_by_the_tasks_of_another():
    """Steps are counted while every helper of another thread is held up."""
    held, release = threading.Semaphore(0), threading.Event()

    def long_task() -> None:
        held.release()
        assert release.wait(60)

    other = threading.Thread(target=run_parallel, args=(long_task, [()] * 2))
    other.start()
    for _ in range(2):
        assert held.acquire(timeout=60)
    steps = []
    training = threading.Thread(
        target=lambda: [run_parallel(steps.append, [(n,), (n,)]) for n in range(50)]
    )
    training.start()
    training.join(60)
    done = len(steps)
    release.set()
    other.join()
    training.join()
    assert done == 100


def test_a_task_may_have_tasks_of_its_own():
    found = []

    def outer(n: int) -> None:
        run_shared(lambda m: found.append((n, m)), 2, [(m,) for m in range(3)])

    caller = threading.Thread(target=run_parallel, args=(outer, [(0,), (1,)]), daemon=True)
    caller.start()
    caller.join(60)
    assert sorted(found) == [(n, m) for n in range(2) for m in range(3)]


def test_helpers_end_with_the_thread_that_they_belong_to():
    helpers = []

    def note() -> None:
        helpers.append(threading.current_thread())

    caller = threading.Thread(target=run_together, args=(note, note))
    caller.start()
    caller.join()
    (helper,) = set(helpers) - {caller}
    helper.join(60)
    assert not helper.is_alive()


def test_what_a_helper_raises_reaches_the_caller():
    def fail() -> None:
        raise ValueError("expected by this test")

    with pytest.raises(ValueError, match="expected by this test"):
        run_together(lambda: None, fail)


@pytest.mark.skipif(sys.platform != "linux", reason="a thread's own priority exists on Linux alone")
def test_background_threads_and_their_helpers_give_way():
    priorities = []

    def note() -> None:
        priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    def work() -> None:
        become_background()
        run_together(note, note)

    before = os.getpriority(os.PRIO_PROCESS, 0)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert priorities == [min(before + BACKGROUND_NICE, 19)] * 2
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
