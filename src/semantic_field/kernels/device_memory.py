"""What to do when a GPU has no memory left: work on fewer things at once, or say what needs it.

Torch raises ``torch.OutOfMemoryError`` after it has given back all memory that it kept in reserve.
No other error is handled here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

log = logging.getLogger(__name__)
T = TypeVar("T")


class DeviceMemoryError(ValueError):
    """A device has not enough memory; the message names what needs it, and what to do."""


def shortage(error: torch.OutOfMemoryError) -> str:
    """Return the first two sentences of torch's message: that memory is short, and for how much."""
    return ". ".join(str(error).strip().split(". ")[:2]).rstrip(".") or "out of memory"


@contextmanager
def memory_for(what: str, remedy: str) -> Iterator[None]:
    """Context manager that names what needs memory where it cannot be had.

    Args:
        what: for the message, "the keyframes' copy on the device".
        remedy: which settings lower the need.
    Raises:
        DeviceMemoryError: if the device has not enough memory for what is done inside.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise _refusal(what, shortage(error), remedy) from error


class Halving:
    """How many things are worked on at once; halved whenever the device has no memory for them.

    A halved number stays, so that memory runs out once, and not at every call. Each halving is a
    warning in the log.

    Args:
        size: at most so many at once.
        least: with so few, or fewer, the error is raised.
        things: for messages, "rays of a view".
        remedy: which settings lower the need.
    Attributes:
        size: as given, or what is left of it.
    """

    def __init__(self, size: int, least: int, things: str, remedy: str) -> None:
        self.size, self._least = size, least
        self._things, self._remedy = things, remedy

    def run(
        self, work: Callable[[int], T], count: int, clear: Callable[[], None] = lambda: None
    ) -> T:
        """Return ``work(n)`` with n = ``count``, or ``size`` if that is less.

        Where memory runs out, ``work`` is called again with a smaller n.

        Args:
            clear: called before that; forgets what the failed call has left behind.
        Raises:
            DeviceMemoryError: if there is not even memory for ``least``.
        """
        while True:
            number = min(self.size, count)
            try:
                return work(number)
            except torch.OutOfMemoryError as error:
                reason = shortage(error)
            # here, as the error's traceback would keep the tensors of the failed call
            clear()
            self._halve(number, reason)

    def parts(self, work: Callable[[slice], T], count: int) -> list[T]:
        """Return the results of ``work`` for one part after the other of ``count`` things.

        A part for which memory runs out is cut in smaller ones.

        Raises:
            DeviceMemoryError: see ``run``.
        """
        results: list[T] = []
        start = 0

        def work_on(number: int) -> tuple[int, T]:
            return start + number, work(slice(start, start + number))

        while start < count:
            start, result = self.run(work_on, count - start)
            results.append(result)
        return results

    def _halve(self, tried: int, reason: str) -> None:
        if tried <= self._least:
            raise _refusal(f"{tried} {self._things}", reason, self._remedy)
        self.size = max(tried // 2, self._least)
        log.warning(
            "%s: %d instead of %d %s from now on; to avoid this, %s",
            reason, self.size, tried, self._things, self._remedy,
        )  # fmt: skip


def _refusal(what: str, reason: str, remedy: str) -> DeviceMemoryError:
    return DeviceMemoryError(f"expected memory on the device for {what}, got: {reason}; {remedy}")
