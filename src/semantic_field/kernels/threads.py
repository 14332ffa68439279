"""Thread pools for compiled functions that release the GIL.

Each thread that calls these functions has helper threads of its own. A long task of one caller (a
surface extraction) therefore never delays another (the training step): both are scheduled by the
operating system. A task may itself call these functions.

Numba's own parallel loops are not used: their default pool aborts when two Python threads enter
it, and a second OpenMP pool beside torch's would compete with it for the cores.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

BACKGROUND_NICE = 3  # beside busy training threads this leaves a third of the processor

_own = threading.local()  # its pools are destroyed with the thread that they belong to


def _pool(workers: int) -> ThreadPoolExecutor:
    """Return the calling thread's pool of that size."""
    pools = _own.__dict__.setdefault("pools", {})
    if workers not in pools:
        pools[workers] = ThreadPoolExecutor(workers, thread_name_prefix="kernels")
    return pools[workers]


def become_background() -> None:
    """Lower the priority of the calling thread and of all threads that it starts from now on.

    Training then gets more of the processor. Only on Linux, where each thread has a priority;
    elsewhere this does nothing.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        priority = os.getpriority(os.PRIO_PROCESS, thread) + BACKGROUND_NICE
        os.setpriority(os.PRIO_PROCESS, thread, min(priority, 19))


def run_parallel(function: Callable[..., object], shares: list[tuple]) -> None:
    """Call ``function(*share)`` for every share in parallel; the first one on the calling thread.

    Returns when all calls have ended; raises the exception of one that failed.
    """
    waiting = [_pool(len(shares) - 1).submit(function, *share) for share in shares[1:]]
    try:
        function(*shares[0])
    finally:
        wait(waiting)  # also after an exception: no call may still run when this returns
    for future in waiting:
        future.result()


def run_shared(function: Callable[..., object], threads: int, tasks: list[tuple]) -> None:
    """Call ``function(*task)`` for every task; a free thread takes the next task.

    Returns when all calls have ended; raises the exception of one that failed.
    """
    waiting = iter(tasks)

    def work() -> None:
        for task in waiting:  # threads share the iterator; the GIL gives each task to one only
            function(*task)

    if tasks:
        run_parallel(work, [()] * min(threads, len(tasks)))


def run_chunks(
    function: Callable[[int, int], object], n: int, threads: int, size: int = 1 << 12
) -> None:
    """Call ``function(start, stop)`` for chunks of 0..n of at most ``size`` items.

    The default size fits into a core's cache. The calling thread works as well; ``function`` must
    release the GIL for most of its time. Returns when all calls have ended.
    """
    pieces = [(start, min(start + size, n)) for start in range(0, n, size)]
    run_shared(function, threads, pieces)


def run_together(*functions: Callable[[], object]) -> None:
    """Call all functions in parallel, the first one on the calling thread; waits for all."""
    run_parallel(lambda function: function(), [(function,) for function in functions])


def split(n: int, parts: int, unit: int = 64) -> list[tuple[int, int]]:
    """Return at most ``parts`` ranges (start, stop) that cover 0..n.

    They are split at multiples of ``unit``. For n = 0 there is one empty range.
    """
    size = -(-n // (parts * unit)) * unit
    return [(start, min(start + size, n)) for start in range(0, n, size)] if n else [(0, 0)]
