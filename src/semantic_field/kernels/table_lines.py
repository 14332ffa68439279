"""Copying, packing and growing the used part of grid tables.

Tables are reserved for the largest map and start as zeros whose memory is allocated when they are
written; a level uses the first ``GridShape.level_sizes`` of its entries.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.kernels.interface import VERTICES_PER_LINE, GridShape


def lines_of(table: Float[Tensor, "L T F"]) -> Float[Tensor, "N E"]:
    """Return a view of a table as lines (L * T / 4, 4 * F)."""
    return table.detach().view(-1, VERTICES_PER_LINE * table.shape[-1])


def used_lines(
    table: Float[Tensor, "L T F"], shape: GridShape
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return indices (M,) and contents (M, 4 F) of the lines that are not zero, on the CPU."""
    per_level = shape.table_size // VERTICES_PER_LINE
    found = []
    for level, size in enumerate(shape.level_sizes):
        used = lines_of(table[level : level + 1])[: size // VERTICES_PER_LINE].any(dim=1)
        found.append(used.nonzero()[:, 0] + level * per_level)
    numbers = torch.cat(found).to(torch.int32).cpu().numpy()
    return numbers, lines_at(table, numbers)


def lines_at(table: Float[Tensor, "L T F"], numbers: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return CPU copies (M, 4 F) of the lines with these indices."""
    place = torch.from_numpy(numbers.astype(np.int64)).to(table.device)
    return lines_of(table)[place].cpu().numpy()


def fill_lines(table: Float[Tensor, "L T F"], numbers: NDArray, lines: NDArray) -> None:
    """Write lines (M, 4 F) to a table on any device, at the indices ``numbers`` (M,)."""
    place = torch.from_numpy(numbers.astype(np.int64)).to(table.device)
    lines_of(table)[place] = torch.from_numpy(lines.astype(np.float32)).to(table.device)


def copy_used(
    source: Float[Tensor, "L T F"], target: Float[Tensor, "L T F"], shape: GridShape
) -> None:
    """Copy the part of ``source`` that is in use to ``target``."""
    for level, size in enumerate(shape.level_sizes):
        target.detach()[level, :size].copy_(source.detach()[level, :size])


def grow(table: Float[Tensor, "L T F"], old: GridShape, new: GridShape) -> None:
    """Grow each level's used part by doubling, in place, without changing any point's features.

    A block's row is its hash modulo the level's size, a power of two: after doubling it is either
    the old row or the old row plus the old size. Both get the old contents, so features stay the
    same, and blocks that collided before can learn different values from now on.
    """
    for level, (size, wanted) in enumerate(zip(old.level_sizes, new.level_sizes, strict=True)):
        while size < wanted:
            table.detach()[level, size : 2 * size] = table.detach()[level, :size]
            size *= 2
