"""Runs compiled functions that release the GIL side by side.

Each thread that calls these functions has helper threads of its own. A long task of one caller (a
surface extraction) therefore never delays another (the training step): both are scheduled by the
operating system. A task may itself call these functions.

Numba's own parallel loops are not used: their default pool aborts when two Python threads enter
it, and a second OpenMP pool beside torch's would fight it for the cores.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

BACKGROUND_NICE = 3  # beside busy training threads this leaves a third of the processor

_own = threading.local()  # its pools end with the thread that they belong to


def _pool(workers: int) -> ThreadPoolExecutor:
    """The calling thread's pool of that size."""
    pools = _own.__dict__.setdefault("pools", {})
    if workers not in pools:
        pools[workers] = ThreadPoolExecutor(workers, thread_name_prefix="kernels")
    return pools[workers]


def become_background() -> None:
    """Let the calling thread, and all threads it starts from now on, give way to training.

    Linux has a priority for each thread, which is lowered; elsewhere it stays what it is.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        priority = os.getpriority(os.PRIO_PROCESS, thread) + BACKGROUND_NICE
        os.setpriority(os.PRIO_PROCESS, thread, min(priority, 19))


def run_parallel(function: Callable[..., object], shares: list[tuple]) -> None:
    """``function(*share)`` for every share; the caller works on the first one itself."""
    waiting = [_pool(len(shares) - 1).submit(function, *share) for share in shares[1:]]
    try:
        function(*shares[0])
    finally:
        wait(waiting)  # nothing goes on behind the caller's back
    for future in waiting:
        future.result()


def run_shared(function: Callable[..., object], threads: int, tasks: list[tuple]) -> None:
    """``function(*task)`` for every task; each thread takes the next one when it is free."""
    waiting = iter(tasks)

    def work() -> None:
        for task in waiting:  # a list's iterator hands each task to one thread, under the GIL
            function(*task)

    if tasks:
        run_parallel(work, [()] * min(threads, len(tasks)))


def run_chunks(
    function: Callable[[int, int], object], n: int, threads: int, size: int = 1 << 12
) -> None:
    """``function(start, stop)`` for pieces of 0..n that fit into a core's cache.

    The caller's thread works, too; ``function`` must release the GIL for most of its time.
    """
    pieces = [(start, min(start + size, n)) for start in range(0, n, size)]
    run_shared(function, threads, pieces)


def run_together(*functions: Callable[[], object]) -> None:
    """Call all functions side by side, the first one on the calling thread."""
    run_parallel(lambda function: function(), [(function,) for function in functions])


def split(n: int, parts: int, unit: int = 64) -> list[tuple[int, int]]:
    """At most ``parts`` ranges that cover 0..n, with borders at multiples of ``unit``."""
    size = -(-n // (parts * unit)) * unit
    return [(start, min(start + size, n)) for start in range(0, n, size)] if n else [(0, 0)]
