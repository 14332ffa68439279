"""What people have said about the map: classes of cells of space, kept apart from the field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semantic_field.field.cells import numbers_of
from semantic_field.field.voxels.voxel_grid import BRICK, VoxelGrid

Cells = NDArray[np.int32]
NO_CELLS = np.zeros((0, 3), np.int32)


@dataclass(frozen=True)
class Annotation:
    """One statement of a person.

    Attributes:
        id: counts from 1 in the order in which they came; never given twice in one map.
        kind: "point", "pixel", "box" or "labels".
        name: the class name; of a label image all of them, with commas.
        stamp_ns: when it was made, nanoseconds.
        points: surface points that it reached.
        cells: int32 (N, 3), the cells of space it speaks of, each once; see ``field.cells`` for
            how far they may lie from the origin.
        class_ids: int32 (N,), what it says of each.
    """

    id: int
    kind: str
    name: str
    stamp_ns: int
    points: int
    cells: Cells
    class_ids: NDArray[np.int32]


@dataclass(frozen=True)
class Conflict:
    """An earlier annotation that a new one contradicts.

    Attributes:
        id, name: of the earlier one.
        overlap: the share of the earlier one's cells of which the new one says something else.
    """

    id: int
    name: str
    overlap: float


@dataclass(frozen=True)
class AnnotationSet:
    """All annotations of a map, never changed: each method gives a new set.

    Attributes:
        cell_m: edge of a cell, metres; cell (i, j, k) begins at (i, j, k) * cell_m.
        entries: oldest first; of two that speak of one cell the later one counts.
        released: int32 (N, 3), cells of annotations that were taken back.
        next_id: for the next annotation.
    """

    cell_m: float = 0.02
    entries: tuple[Annotation, ...] = ()
    released: Cells = field(default_factory=lambda: NO_CELLS)
    next_id: int = 1

    def __bool__(self) -> bool:
        return bool(self.entries) or len(self.released) > 0

    def get(self, annotation_id: int) -> Annotation:
        """The annotation of that number; ValueError where there is none."""
        for entry in self.entries:
            if entry.id == annotation_id:
                return entry
        known = [entry.id for entry in self.entries]
        raise ValueError(f"expected the id of an annotation, one of {known}, got {annotation_id}")

    def conflicts(self, cells: Cells, class_ids: NDArray[np.int32]) -> tuple[Conflict, ...]:
        """Which annotations say something else of some of these cells, oldest first."""
        keys, found = numbers_of(cells), []
        for entry in self.entries:
            _, new, old = np.intersect1d(
                keys, numbers_of(entry.cells), assume_unique=True, return_indices=True
            )
            other = int((class_ids[new] != entry.class_ids[old]).sum())
            if other:
                found.append(Conflict(entry.id, entry.name, other / len(entry.cells)))
        return tuple(found)

    def extended(self, entry: Annotation) -> AnnotationSet:
        """With a new annotation, whose id is ``next_id``."""
        assert entry.id == self.next_id
        released = self.released[~np.isin(numbers_of(self.released), numbers_of(entry.cells))]
        entries = (*self.entries, entry)
        return replace(self, entries=entries, released=released, next_id=entry.id + 1)

    def without(self, annotation_id: int) -> AnnotationSet:
        """Without an annotation; the cells that only it spoke of are released."""
        gone = self.get(annotation_id)
        entries = tuple(entry for entry in self.entries if entry is not gone)
        left = np.concatenate([NO_CELLS, *_cells(entries)])
        free = ~np.isin(numbers_of(gone.cells), numbers_of(left))
        released = np.concatenate([self.released, gone.cells[free]])
        return replace(self, entries=entries, released=released)

    def renumbered(self, new_id: Callable[[int], int]) -> AnnotationSet:
        """The same with other class ids; what is said stays."""
        entries = []
        for entry in self.entries:
            old, which = np.unique(entry.class_ids, return_inverse=True)
            ids = np.array([new_id(i) for i in old.tolist()], np.int32)
            entries.append(replace(entry, class_ids=ids[which]))
        return replace(self, entries=tuple(entries))

    def claims(self) -> tuple[Cells, NDArray[np.int32]]:
        """Every annotated cell (N, 3) once, and what is said of it (N,): the newest counts."""
        if not self.entries:
            return NO_CELLS, np.zeros(0, np.int32)
        cells = np.concatenate(_cells(self.entries))[::-1]
        class_ids = np.concatenate([entry.class_ids for entry in self.entries])[::-1]
        _, newest = np.unique(numbers_of(cells), return_index=True)
        return cells[newest], class_ids[newest]

    def overrule(self, xyz: NDArray[np.float32], label: NDArray[np.integer]) -> NDArray:
        """The labels (N,) of surface points (N, 3), with what people have said of them."""
        if not self.entries:
            return label
        table, kinds = self._table
        found = table.lookup(np.ascontiguousarray(xyz, np.float32)).astype(np.int64)
        return np.where(found > 0, kinds[found], label).astype(label.dtype)

    @cached_property
    def _table(self) -> tuple[VoxelGrid, NDArray[np.int32]]:
        """A table of the claims, and the class id that each of its values stands for."""
        cells, class_ids = self.claims()
        kinds, which = np.unique(class_ids, return_inverse=True)
        return cell_table(self.cell_m, cells, (which + 1).astype(np.uint16)), np.append(0, kinds)

    def packed(self) -> tuple[dict[str, Any], dict[str, NDArray]]:
        """JSON and arrays for the map file."""
        about = {
            "cell_m": self.cell_m,
            "next_id": self.next_id,
            "entries": [
                {name: getattr(entry, name) for name in _PLAIN} | {"cells": len(entry.cells)}
                for entry in self.entries
            ],
        }
        class_ids = [np.zeros(0, np.int32), *(entry.class_ids for entry in self.entries)]
        return about, {
            "cells": np.concatenate([NO_CELLS, *_cells(self.entries)]),
            "class_ids": np.concatenate(class_ids),
            "released": self.released,
        }

    @classmethod
    def unpacked(cls, about: dict[str, Any], arrays: dict[str, NDArray]) -> AnnotationSet:
        """The set that ``packed`` was asked for."""
        ends = np.cumsum([entry["cells"] for entry in about["entries"]])
        parts = zip(
            about["entries"],
            np.split(arrays["cells"], ends)[:-1],
            np.split(arrays["class_ids"], ends)[:-1],
            strict=True,
        )
        entries = tuple(
            Annotation(**{name: entry[name] for name in _PLAIN}, cells=cells, class_ids=class_ids)
            for entry, cells, class_ids in parts
        )
        return cls(about["cell_m"], entries, arrays["released"], about["next_id"])


def distinct(cells: Cells) -> Cells:
    """Each of the cells (N, 3) once."""
    return cells[np.unique(numbers_of(cells), return_index=True)[1]]


def cell_table(cell_m: float, cells: Cells, values: NDArray[np.uint16]) -> VoxelGrid:
    """A sparse table of cells (N, 3); values (N,) are what its ``lookup`` gives, 0 elsewhere."""
    bricks = cells >> 3
    _, first, slot = np.unique(numbers_of(bricks), return_index=True, return_inverse=True)
    counts = np.zeros((len(first), BRICK**3), np.uint16)
    x, y, z = (cells & 7).T
    counts[slot, (z << 6) | (y << 3) | x] = values
    return VoxelGrid.from_bricks(cell_m, bricks[first].astype(np.int32), counts)


_PLAIN = ("id", "kind", "name", "stamp_ns", "points")


def _cells(entries: tuple[Annotation, ...]) -> list[Cells]:
    return [entry.cells for entry in entries]
