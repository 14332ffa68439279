"""Where the labelled pixels of the keyframes are, by class: so that rays can be sent to them."""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

PER_FRAME = 1024  # pixels noted of one class in one keyframe
PER_CLASS = 1 << 16


@njit(nogil=True, cache=True)
def _choose(rows, every, seed):
    """Numbers of about one in ``every[c]`` pixels of each class c, at random, and their classes."""
    pixels, classes = np.empty(len(rows), np.int32), np.empty(len(rows), np.int16)
    count = 0
    for n in range(len(rows)):
        row = rows[n]
        if row < 0:
            continue
        mixed = np.uint32(n + seed) * np.uint32(0x9E3779B1)
        mixed = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(0x85EBCA77)
        if (mixed >> np.uint32(8)) % np.uint32(every[row]) == 0:
            pixels[count], classes[count] = n, row
            count += 1
    return pixels[:count], classes[:count]


class LabelledPixels:
    """A sample of the labelled pixels of all keyframes, of each class.

    Random pixels meet a clicked pixel or a small object hardly ever. Of each class of each
    keyframe at most ``PER_FRAME`` pixels are noted; where a class has more than ``PER_CLASS``
    in all, every second one is forgotten, and of later keyframes half as many are noted.

    Attributes:
        totals: float64 (C,), labelled pixels of each class, those not noted included.
    """

    def __init__(self) -> None:
        self._store: list[NDArray[np.int32]] = []  # of each class: slots and pixels, and room
        self._used: list[int] = []  # how many of them
        self._share: list[float] = []
        self._counts: dict[int, NDArray[np.int64]] = {}  # of each slot: pixels of each class
        self._random = np.random.default_rng(0)
        self.totals = np.zeros(0)

    def note(self, slot: int, rows: NDArray[np.int16]) -> None:
        """Take over the class rows (P,) of a keyframe, -1 = void, in place of earlier ones."""
        self.forget(slot)
        counts = np.bincount(rows[rows >= 0])
        if not len(counts):
            return
        while len(self._store) < len(counts):
            self._store.append(np.zeros((2, PER_FRAME), np.int32))
            self._used.append(0)
            self._share.append(1.0)
        self._counts[slot] = counts
        self._add_to_totals(counts)
        most = np.maximum(1, (PER_FRAME * np.array(self._share[: len(counts)])).astype(np.int64))
        every = -(-counts // most)  # of a class's pixels one in so many is noted
        chosen, of_class = _choose(rows, every, int(self._random.integers(1 << 31)))
        for row in np.flatnonzero(counts).tolist():
            self._note_class(slot, row, chosen[of_class == row])

    def noted(self, row: int) -> NDArray[np.int32]:
        """Slots and pixels (2, n) that are noted of a class: a view."""
        return self._store[row][:, : self._used[row]]

    def _note_class(self, slot: int, row: int, pixels: NDArray[np.int32]) -> None:
        used = self._used[row] + len(pixels)
        if used > self._store[row].shape[1]:
            spare = np.zeros((2, used), np.int32)
            self._store[row] = np.concatenate([self._store[row], spare], axis=1)
        added = self._store[row][:, self._used[row] : used]
        added[0], added[1] = slot, pixels
        self._used[row] = used
        if used > PER_CLASS:
            self._keep(row, np.arange(used) % 2 == 0)
            self._share[row] /= 2

    def _keep(self, row: int, kept: NDArray[np.bool_]) -> None:
        rest = self.noted(row)[:, kept]
        self._used[row] = rest.shape[1]
        self.noted(row)[:] = rest

    def forget(self, slot: int) -> None:
        """Forget a keyframe's pixels."""
        counts = self._counts.pop(slot, None)
        if counts is not None:
            self._add_to_totals(-counts)
            for row in np.flatnonzero(counts).tolist():
                self._keep(row, self.noted(row)[0] != slot)

    def move(self, source: int, target: int) -> None:
        """A keyframe moves to another slot, whose own pixels are forgotten."""
        self.forget(target)
        if source in self._counts:
            self._counts[target] = self._counts.pop(source)
            for row in np.flatnonzero(self._counts[target]).tolist():
                slots = self.noted(row)[0]
                slots[slots == source] = target

    def draw(
        self, rays: int, balance: float, random: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Slots and pixels (n,) for ``rays`` rays; none where nothing is labelled.

        A class is drawn with a chance proportional to its pixels to the power of
        1 - ``balance``: 0 = as frequent as it is, 1 = all classes alike.
        """
        known = np.array(self._used) > 0
        chance = np.where(known, np.maximum(self.totals, 1) ** (1.0 - balance), 0.0)
        if not (rays and chance.sum()):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        wanted = np.bincount(random.choice(len(chance), rays, p=chance / chance.sum()))
        chosen = [
            self.noted(row)[:, random.integers(self._used[row], size=n)]
            for row, n in enumerate(wanted.tolist())
            if n
        ]
        slots, pixels = np.concatenate(chosen, axis=1).astype(np.int64)
        return slots, pixels

    def _add_to_totals(self, counts: NDArray[np.int64]) -> None:
        self.totals = np.append(self.totals, np.zeros(max(0, len(counts) - len(self.totals))))
        self.totals[: len(counts)] += counts
