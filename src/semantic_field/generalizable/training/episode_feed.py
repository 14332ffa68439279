"""Episodes prepared in the background while the model is trained on the ones before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")


def episode_random(seed: int, step: int, index: int) -> np.random.Generator:
    """Return the random numbers of one episode: a function of these three alone.

    Args:
        index: number of the episode in its step, over all processes.
    """
    return np.random.default_rng([seed, step, index])


class EpisodeFeed(Generic[T]):
    """What ``make`` returns for each step, in order, prepared by one thread some steps ahead.

    Nothing depends on the thread's timing, as ``make`` depends on the step alone. Use it as a
    context manager: the thread ends with the block.

    Args:
        make: called with the step.
        first, end: steps ``first`` to ``end - 1`` are fed.
        ahead: bound on the steps that are prepared but not taken; 0 = prepare when asked.
    """

    def __init__(self, make: Callable[[int], T], first: int, end: int, ahead: int) -> None:
        self._make, self._next, self._end, self._ahead = make, first, end, ahead
        self._pending: deque[Future[T]] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="episodes")

    def __enter__(self) -> EpisodeFeed[T]:
        self._fill(self._ahead)
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def take(self) -> T:
        """Return what was made for the next step; raises what ``make`` raised for it.

        Raises:
            IndexError: after the last step.
        """
        self._fill(max(1, self._ahead))
        if not self._pending:
            raise IndexError(f"expected at most the steps before {self._end}, all are taken")
        made = self._pending.popleft().result()
        self._fill(self._ahead)
        return made

    def _fill(self, wanted: int) -> None:
        while len(self._pending) < wanted and self._next < self._end:
            self._pending.append(self._thread.submit(self._make, self._next))
            self._next += 1
