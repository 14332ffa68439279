"""Work on an image of rays in bands of rows, each by a thread of its own.

Torch divides every single operation between its threads, and waits for the slowest after each of
them; on a machine that does other things, most of the time is spent waiting. A band is worked on
by one thread from its beginning to its end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from semantic_field.kernels.threads import run_parallel


class Band(NamedTuple):
    """Rows of an image.

    Attributes:
        given: rows that the work looks at. kept: rows of the result, counted from the first given.
    """

    given: slice
    kept: slice


def bands(rows: int, count: int, reach: int) -> list[Band]:
    """Divide rows into up to ``count`` bands that are kept, of as many rows as possible each.

    Args:
        reach: rows above and below a kept one that the work looks at.
    """
    count = max(1, min(count, rows // max(1, reach)))
    edges = [rows * i // count for i in range(count + 1)]
    found = []
    for first, last in zip(edges, edges[1:]):
        start, stop = max(0, first - reach), min(rows, last + reach)
        found.append(Band(slice(start, stop), slice(first - start, last - start)))
    return found


def run_on_threads(work: Callable[[int], object], count: int) -> None:
    """Call ``work`` for 0 to ``count`` - 1 in parallel, each with one of torch's threads.

    Gradients and inference mode are as in the calling thread.
    """
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def alone(number: int) -> None:
        torch.set_num_threads(1)  # counts for the thread that calls it, and for new ones
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
            work(number)

    before = torch.get_num_threads()
    try:
        run_parallel(alone, [(number,) for number in range(count)])
    finally:
        torch.set_num_threads(before)
