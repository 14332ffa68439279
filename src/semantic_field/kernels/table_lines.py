"""Copies of tables that touch only what is in use.

Tables are reserved for the largest map and start as zeros that the operating system provides
only when they are written. A plain copy would write all of them.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.kernels.interface import VERTICES_PER_LINE
from semantic_field.kernels.threads import run_chunks

LINES_PER_TASK = 1 << 14
_jit = njit(nogil=True, cache=True, error_model="numpy")


@_jit
def _copy_used(source, target, first, stop):
    for line in range(first, stop):
        for i in range(source.shape[1]):
            if source[line, i] != 0:
                for j in range(source.shape[1]):
                    target[line, j] = source[line, j]
                break


@_jit
def _count_used(source, counts, first, stop):
    for line in range(first, stop):
        for i in range(source.shape[1]):
            if source[line, i] != 0:
                counts[first // LINES_PER_TASK] += 1
                break


def lines_of(table: Float[Tensor, "L T F"]) -> NDArray[np.float32]:
    """A table as lines (L * T / 4, 4 * F): a view."""
    return table.detach().numpy().reshape(-1, VERTICES_PER_LINE * table.shape[-1])


def used_copy(table: Float[Tensor, "L T F"], threads: int = 2) -> Float[Tensor, "L T F"]:
    """An equal table whose memory is provided only for lines that are not zero.

    On a GPU memory is provided at once, and this is a plain copy.
    """
    if table.device.type != "cpu":
        return table.detach().clone()
    copied = torch.zeros(table.shape)
    source, target = lines_of(table), lines_of(copied)
    run_chunks(
        lambda start, stop: _copy_used(source, target, start, stop),
        len(source),
        threads,
        LINES_PER_TASK,
    )
    return copied


def count_used(table: Float[Tensor, "L T F"], threads: int = 2) -> int:
    """How many lines of a table are not zero."""
    if table.device.type != "cpu":
        lines = table.detach().reshape(-1, VERTICES_PER_LINE * table.shape[-1])
        return int(lines.any(dim=1).sum())
    source = lines_of(table)
    counts = np.zeros(-(-len(source) // LINES_PER_TASK), np.int64)
    run_chunks(
        lambda start, stop: _count_used(source, counts, start, stop),
        len(source),
        threads,
        LINES_PER_TASK,
    )
    return int(counts.sum())


def doubled(table: Float[Tensor, "L T F"]) -> Float[Tensor, "L 2T F"]:
    """A table of twice the size from which every point reads what it read before.

    A block's row is its hash modulo the table's size, a power of two: in a table of twice the
    size it is either the old row or the old row plus the old size. Both get the old contents, so
    nothing moves, and blocks that shared a row can part from there on.
    """
    if table.device.type != "cpu":
        return torch.cat([table.detach()] * 2, dim=1)
    levels, size, features = table.shape
    grown = torch.zeros(levels, 2 * size, features)
    for half in (grown[:, :size], grown[:, size:]):
        for level in range(levels):
            source = lines_of(table[level : level + 1])
            _copy_used(source, lines_of(half[level : level + 1]), 0, len(source))
    return grown
