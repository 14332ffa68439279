"""Handling of a GPU without free memory: smaller batches, or an error that names the cause.

Only ``torch.OutOfMemoryError`` is handled, which torch raises after it has freed all memory that
it kept in reserve.
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
    """A device has not enough memory; the message names what needs it and the remedy."""


def shortage(error: torch.OutOfMemoryError) -> str:
    """Return the first two sentences of torch's message, with the size that was requested."""
    return ". ".join(str(error).strip().split(". ")[:2]).rstrip(".") or "out of memory"


@contextmanager
def memory_for(what: str, remedy: str) -> Iterator[None]:
    """Context manager that turns lack of memory into an error that names what needs it.

    Args:
        what: name of what needs memory, such as "the keyframes' copy on the device".
        remedy: what the user can do, such as settings that reduce the memory.
    Raises:
        DeviceMemoryError: if the device has not enough memory for the work inside.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise _refusal(what, shortage(error), remedy) from error


class Halving:
    """A batch size that is halved whenever the device has no memory for a batch.

    The smaller size is kept, so that memory does not run out at every call. Each halving is
    logged as a warning.

    Args:
        size: initial batch size.
        least: smallest batch size; if there is no memory for it, an error is raised.
        things: name of the items in messages, such as "rays of a view".
        remedy: what the user can do, such as settings that reduce the memory.
    Attributes:
        size: current batch size.
    """

    def __init__(self, size: int, least: int, things: str, remedy: str) -> None:
        self.size, self._least = size, least
        self._things, self._remedy = things, remedy

    def run(
        self, work: Callable[[int], T], count: int, clear: Callable[[], None] = lambda: None
    ) -> T:
        """Return ``work(n)`` with n = ``count``, or ``size`` if that is less.

        If memory runs out, ``work`` is called again with a smaller n.

        Args:
            clear: called before each further attempt, to discard results of the failed call.
        Raises:
            DeviceMemoryError: if there is no memory for ``least`` items, or for ``count`` if that
                is less.
        """
        while True:
            number = min(self.size, count)
            try:
                return work(number)
            except torch.OutOfMemoryError as error:
                reason = shortage(error)
            # Outside of ``except``, where the traceback keeps the failed call's tensors alive.
            clear()
            self._halve(number, reason)

    def parts(self, work: Callable[[slice], T], count: int) -> list[T]:
        """Return the results of ``work`` for consecutive slices of ``count`` items.

        If memory runs out, the rest is processed in smaller slices.

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
