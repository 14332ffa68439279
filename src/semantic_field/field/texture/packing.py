"""Packing of rectangles onto the pages of an atlas, on shelves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LARGEST = 8192  # pixels, side of a page: what graphics hardware commonly takes


@dataclass(frozen=True)
class Packing:
    """Where rectangles lie on pages.

    Attributes:
        page: int32 (C,), the page of each rectangle.
        place: int32 (C, 2), column and row of its first pixel.
        sizes: width and height of each page, pixels.
    """

    page: NDArray[np.int32]
    place: NDArray[np.int32]
    sizes: list[tuple[int, int]]


def packed(size: NDArray[np.integer], largest: int = LARGEST) -> Packing:
    """Pack rectangles of sizes (C, 2), width and height in pixels, without overlap.

    The highest ones come first, side by side on shelves as high as the first rectangle on them.
    Pages are as small as the rectangles allow, and at most ``largest`` wide and high.

    Raises:
        ValueError: if a rectangle is larger than a page.
    """
    if size.max(initial=0) > largest:
        raise ValueError(f"expected rectangles of at most {largest} pixels, got {size.max()}")
    width = min(largest, max(math.ceil(math.sqrt(size.prod(1).sum() * 1.05)), size.max(initial=1)))
    page, place = np.zeros(len(size), np.int32), np.zeros((len(size), 2), np.int32)
    sizes: list[tuple[int, int]] = []
    column = row = shelf = number = 0
    for n in np.argsort(-size[:, 1], kind="stable").tolist():
        w, h = size[n].tolist()
        if column + w > width:
            column, row, shelf = 0, row + shelf, 0
        if row + h > largest:
            sizes.append((width, row))
            column, row, shelf, number = 0, 0, 0, number + 1
        page[n], place[n] = number, (column, row)
        column, shelf = column + w, max(shelf, h)
    return Packing(page, place, [*sizes, (width, max(row + shelf, 1))])
