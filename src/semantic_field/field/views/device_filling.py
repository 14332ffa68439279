"""Filling of the unknown pixels of an image from the nearest known ones, in torch."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

ENTRIES_AT_ONCE = 1 << 24  # distances between unknown pixels and columns
FAR_AWAY = 1 << 14  # rows; more than any image has


def filled(image: Shaped[Tensor, "H W *C"], known: Bool[Tensor, "H W"]) -> Tensor:
    """Return the image with each unknown pixel replaced by the nearest known one.

    Of equally near ones it is the one in the leftmost column, and the upper one there. Returns the
    image itself if no pixel is known, or all are. Waits for the device.
    """
    unknown = (~known).view(-1).nonzero()[:, 0]
    if not 0 < len(unknown) < known.numel():
        return image
    row = _nearest_rows(known)
    step = max(1, ENTRIES_AT_ONCE // known.shape[1])
    parts = [_nearest(part, row) for part in unknown.split(step)]
    flat = image.flatten(0, 1)
    return flat.index_copy(0, unknown, flat[torch.cat(parts)]).view_as(image)


def _nearest_rows(known: Bool[Tensor, "H W"]) -> Int[Tensor, "H W"]:
    """Return the row of the nearest known pixel in the same column, ``FAR_AWAY`` if there is none.

    Of two equally near ones it is the upper one.
    """
    rows = torch.arange(len(known), device=known.device)[:, None]
    above = torch.where(known, rows, -FAR_AWAY).cummax(0).values
    below = torch.where(known, rows, FAR_AWAY).flip(0).cummin(0).values.flip(0)
    nearest = torch.where(rows - above <= below - rows, above, below)
    return torch.where(nearest < 0, FAR_AWAY, nearest)


def _nearest(pixels: Int[Tensor, " N"], row: Int[Tensor, "H W"]) -> Int[Tensor, " N"]:
    """Return the numbers of the known pixels nearest to ``pixels`` (Felzenszwalb's distances).

    Args:
        row: the nearest rows in each column, see ``_nearest_rows``.
    """
    width = row.shape[1]
    own_row, own_column = pixels // width, pixels % width
    down = (row[own_row] - own_row[:, None]).int()  # (N, W)
    columns = torch.arange(width, dtype=torch.int32, device=row.device)
    along = columns - own_column[:, None].int()
    column = (down.square_() + along.square_()).argmin(1)
    return row[own_row, column] * width + column
