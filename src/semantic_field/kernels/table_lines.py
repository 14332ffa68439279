"""Tables by the lines that are in use: copied, stored, and grown.

Tables are reserved for the largest map and start as zeros that the operating system provides
only where they are written; a level uses the first ``GridShape.level_sizes`` of its entries.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.kernels.interface import VERTICES_PER_LINE, GridShape


def lines_of(table: Float[Tensor, "L T F"]) -> Float[Tensor, "N E"]:
    """A table as lines (L * T / 4, 4 * F): a view."""
    return table.detach().view(-1, VERTICES_PER_LINE * table.shape[-1])


def used_lines(
    table: Float[Tensor, "L T F"], shape: GridShape
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Numbers (M,) and contents (M, 4 F) of the lines that are not zero."""
    per_level = shape.table_size // VERTICES_PER_LINE
    found = []
    for level, size in enumerate(shape.level_sizes):
        used = lines_of(table[level : level + 1])[: size // VERTICES_PER_LINE].any(dim=1)
        found.append(used.nonzero()[:, 0] + level * per_level)
    numbers = torch.cat(found).to(torch.int32).cpu().numpy()
    return numbers, lines_at(table, numbers)


def lines_at(table: Float[Tensor, "L T F"], numbers: NDArray[np.int32]) -> NDArray[np.float32]:
    """Copies of the numbered lines, (M, 4 F)."""
    place = torch.from_numpy(numbers.astype(np.int64)).to(table.device)
    return lines_of(table)[place].cpu().numpy()


def fill_lines(table: Float[Tensor, "L T F"], numbers: NDArray, lines: NDArray) -> None:
    """Put lines into a table on any device, at the places ``numbers``."""
    place = torch.from_numpy(numbers.astype(np.int64)).to(table.device)
    lines_of(table)[place] = torch.from_numpy(lines.astype(np.float32)).to(table.device)


def copy_used(
    source: Float[Tensor, "L T F"], target: Float[Tensor, "L T F"], shape: GridShape
) -> None:
    """Copy the part of a table that is in use."""
    for level, size in enumerate(shape.level_sizes):
        target.detach()[level, :size].copy_(source.detach()[level, :size])


def grow(table: Float[Tensor, "L T F"], old: GridShape, new: GridShape) -> None:
    """Let each level's part in use grow by doubling; every point reads what it read before.

    A block's row is its hash modulo the level's size, a power of two: in one of twice the size it
    is either the old row or the old row plus the old size. Both get the old contents, so nothing
    moves, and blocks that shared a row can part from there on.
    """
    for level, (size, wanted) in enumerate(zip(old.level_sizes, new.level_sizes, strict=True)):
        while size < wanted:
            table.detach()[level, size : 2 * size] = table.detach()[level, :size]
            size *= 2
