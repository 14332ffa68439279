"""Sparse table of votes for classes: voxels of a fine lattice, each with its strongest classes.

A voxel is found by hashing (open addressing with linear probing). Its votes are stored densely in
the order in which voxels were first voted for, so that a copy for readers is one pass over memory.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.field.cells import FARTHEST

CLASSES = 3  # stored for each voxel; a new one replaces the weakest if that is weaker
UNITS = 256  # stored units of one vote
MOST = 65535  # larger sums of votes are not stored
FIRST_VOXELS = 1 << 12
NONE = -1
_MIX = np.uint64(0x9E3779B97F4A7C15)
_jit = njit(nogil=True, cache=True, error_model="numpy")
_inline = njit(inline="always", error_model="numpy")


@_inline
def voxel_key(x, y, z):
    """Key of voxel (x, y, z), as ``field.cells.numbers_of``."""
    return ((x + FARTHEST) << 42) | ((y + FARTHEST) << 21) | (z + FARTHEST)


@_inline
def _start(key, places):
    mixed = np.uint64(key) * _MIX
    return np.int64((mixed ^ (mixed >> np.uint64(29))) >> np.uint64(7)) & (places - 1)


@_inline
def free_or_found(key, places, keys):
    """Place of a voxel in the hash table, or the free place where it belongs."""
    place = _start(key, len(places))
    while places[place] != NONE and keys[places[place]] != key:
        place = (place + 1) & (len(places) - 1)
    return place


@_inline
def find(key, places, keys):
    """Index of a voxel in the dense arrays; ``NONE`` if it has no votes."""
    return places[free_or_found(key, places, keys)]


@_jit
def _enter(keys, used, places):
    """Enter the voxels ``keys[:used]``, all different, in an empty hash table."""
    for voxel in range(used):
        places[free_or_found(keys[voxel], places, keys)] = voxel


@_jit
def _locate(wanted, places, keys, used, voxels):
    """Fill ``voxels`` with the index of each wanted key, appending new voxels while there is room.

    Returns the number of voxels in use. Keys without room get ``NONE``.
    """
    for n in range(len(wanted)):
        place = free_or_found(wanted[n], places, keys)
        if places[place] == NONE and used < len(keys):
            keys[used], places[place] = wanted[n], used
            used += 1
        voxels[n] = places[place]
    return used


@_inline
def vote(rows, votes, voxel, row, amount):
    """Add an amount to the votes of a voxel for a class; a negative one takes votes back."""
    weakest = 0
    for place in range(CLASSES):
        if votes[voxel, place] > 0 and rows[voxel, place] == row:
            votes[voxel, place] = min(max(votes[voxel, place] + amount, 0), MOST)
            return
        if votes[voxel, place] < votes[voxel, weakest]:
            weakest = place
    if amount > votes[voxel, weakest]:
        rows[voxel, weakest], votes[voxel, weakest] = row, amount


class VoteTable:
    """Votes for classes in voxels of edge ``cell_m``, metres. One thread may write.

    Args:
        cell_m: edge of a voxel, metres.
        most: largest number of voxels; votes in further voxels are not counted.

    Attributes:
        keys: int64 (V,), the voxels' keys, see ``field.cells``; the first ``len(table)`` are used.
        rows: int16 (V, 3), classes (rows of the label head) with votes.
        votes: uint16 (V, 3), their votes in units of 1 / ``UNITS``; 0 = no class.
    """

    def __init__(self, cell_m: float, most: int = 1 << 30) -> None:
        self.cell_m, self.most = cell_m, most
        self._used = 0
        self.keys, self.rows, self.votes = _arrays(FIRST_VOXELS)
        self.places = empty_places(FIRST_VOXELS)

    def __len__(self) -> int:
        return self._used

    def places_of(self, keys: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the index (N,) of the voxel of each key (N,); new ones are added.

        ``NONE`` for voxels for which the table has no room.
        """
        self._make_room(len(keys))
        voxels = np.empty(len(keys), np.int32)
        self._used = _locate(keys, self.places, self.keys, self._used, voxels)
        return voxels

    def copy(self) -> VoteTable:
        """Return an independent copy without reserved memory."""
        twin = VoteTable(self.cell_m, self.most)
        twin._used, n = self._used, self._used
        twin.keys, twin.rows, twin.votes = (
            array[:n].copy() for array in (self.keys, self.rows, self.votes)
        )
        twin.places = self.places.copy()
        return twin

    @classmethod
    def of(
        cls,
        cell_m: float,
        keys: NDArray[np.int64],
        rows: NDArray[np.int16],
        votes: NDArray[np.uint16],
    ) -> VoteTable:
        """Return a table of these voxels (V,), all different, with rows and votes (V, 3)."""
        table = cls(cell_m)
        table._used = len(keys)
        table.keys, table.rows, table.votes = keys, rows, votes
        table._rehash()
        return table

    def memory_bytes(self) -> int:
        return sum(a.nbytes for a in (self.keys, self.rows, self.votes, self.places))

    def _make_room(self, more: int) -> None:
        """Make room for ``more`` voxels, as far as the limit allows; drops voxels without votes."""
        if self._used + more <= len(self.keys) or len(self.keys) >= self.most:
            return
        kept = np.flatnonzero(self.votes[: self._used].any(1))
        room = min(max(len(kept) + more, 5 * len(kept) // 4), max(self.most, len(kept)))
        grown = _arrays(max(room, 1))
        for new, old in zip(grown, (self.keys, self.rows, self.votes), strict=True):
            new[: len(kept)] = old[kept]
        self.keys, self.rows, self.votes = grown
        self._used = len(kept)
        self._rehash()

    def _rehash(self) -> None:
        self.places = empty_places(len(self.keys))
        _enter(self.keys, self._used, self.places)


def empty_places(voxels: int) -> NDArray[np.int32]:
    """Return an empty hash table for so many voxels; its size is a power of two."""
    return np.full(1 << int(np.ceil(np.log2(max(1.5 * voxels, 2.0)))), NONE, np.int32)


def _arrays(voxels: int) -> tuple[NDArray[np.int64], NDArray[np.int16], NDArray[np.uint16]]:
    return (
        np.zeros(voxels, np.int64),
        np.zeros((voxels, CLASSES), np.int16),
        np.zeros((voxels, CLASSES), np.uint16),
    )
