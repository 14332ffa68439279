"""Human annotations of a map: immutable sets of labelled voxels, stored apart from the field.

A cell is a voxel of edge ``AnnotationSet.cell_m``, given by its integer coordinates.
"""

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
    """One annotation made by a person.

    Attributes:
        id: counts from 1 in order of arrival; never reused within one map.
        kind: "point", "pixel", "box" or "labels".
        name: the class name; for a label image all its class names, comma-separated.
        stamp_ns: when it was made, nanoseconds.
        points: number of surface points that it labelled.
        cells: int32 (N, 3), the labelled cells, without duplicates; see ``field.cells`` for
            how far they may lie from the origin.
        class_ids: int32 (N,), the class id given to each cell.
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
        id, name: of the earlier annotation.
        overlap: the fraction of the earlier annotation's cells (0..1) to which the new one gives
            a different class.
    """

    id: int
    name: str
    overlap: float


@dataclass(frozen=True)
class AnnotationSet:
    """All annotations of a map. Immutable: methods that change it return a new set.

    Attributes:
        cell_m: edge of a cell, metres; cell (i, j, k) begins at (i, j, k) * cell_m.
        entries: oldest first; where two label the same cell, the later one wins.
        released: int32 (N, 3), cells of deleted annotations that no other annotation labels.
        next_id: id of the next annotation.
    """

    cell_m: float = 0.02
    entries: tuple[Annotation, ...] = ()
    released: Cells = field(default_factory=lambda: NO_CELLS)
    next_id: int = 1

    def __bool__(self) -> bool:
        return bool(self.entries) or len(self.released) > 0

    def get(self, annotation_id: int) -> Annotation:
        """Return the annotation with this id; ValueError if there is none."""
        for entry in self.entries:
            if entry.id == annotation_id:
                return entry
        known = [entry.id for entry in self.entries]
        raise ValueError(f"expected the id of an annotation, one of {known}, got {annotation_id}")

    def conflicts(self, cells: Cells, class_ids: NDArray[np.int32]) -> tuple[Conflict, ...]:
        """Return the annotations that label some of these cells differently, oldest first.

        Args:
            cells: int32 (N, 3), without duplicates. class_ids: int32 (N,), their new classes.
        """
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
        """Return the set with a new annotation appended, whose id must be ``next_id``."""
        assert entry.id == self.next_id
        released = self.released[~np.isin(numbers_of(self.released), numbers_of(entry.cells))]
        entries = (*self.entries, entry)
        return replace(self, entries=entries, released=released, next_id=entry.id + 1)

    def without(self, annotation_id: int) -> AnnotationSet:
        """Return the set without this annotation; cells that only it labelled become released.

        Raises:
            ValueError: if there is no annotation with this id.
        """
        gone = self.get(annotation_id)
        entries = tuple(entry for entry in self.entries if entry is not gone)
        left = np.concatenate([NO_CELLS, *_cells(entries)])
        free = ~np.isin(numbers_of(gone.cells), numbers_of(left))
        released = np.concatenate([self.released, gone.cells[free]])
        return replace(self, entries=entries, released=released)

    def renumbered(self, new_id: Callable[[int], int]) -> AnnotationSet:
        """Return the same annotations with each class id replaced by ``new_id`` of it."""
        entries = []
        for entry in self.entries:
            old, which = np.unique(entry.class_ids, return_inverse=True)
            ids = np.array([new_id(i) for i in old.tolist()], np.int32)
            entries.append(replace(entry, class_ids=ids[which]))
        return replace(self, entries=tuple(entries))

    def claims(self) -> tuple[Cells, NDArray[np.int32]]:
        """Return every annotated cell once (N, 3), and the class ids (N,) of the newest labels."""
        if not self.entries:
            return NO_CELLS, np.zeros(0, np.int32)
        cells = np.concatenate(_cells(self.entries))[::-1]
        class_ids = np.concatenate([entry.class_ids for entry in self.entries])[::-1]
        _, newest = np.unique(numbers_of(cells), return_index=True)
        return cells[newest], class_ids[newest]

    def overrule(self, xyz: NDArray[np.float32], label: NDArray[np.integer]) -> NDArray:
        """Return the labels (N,) of surface points (N, 3), replaced where a point is annotated."""
        if not self.entries:
            return label
        table, kinds = self._table
        found = table.lookup(np.ascontiguousarray(xyz, np.float32)).astype(np.int64)
        return np.where(found > 0, kinds[found], label).astype(label.dtype)

    @cached_property
    def _table(self) -> tuple[VoxelGrid, NDArray[np.int32]]:
        """A voxel grid of indices into the returned class ids; index 0 means not annotated."""
        cells, class_ids = self.claims()
        kinds, which = np.unique(class_ids, return_inverse=True)
        return cell_table(self.cell_m, cells, (which + 1).astype(np.uint16)), np.append(0, kinds)

    def packed(self) -> tuple[dict[str, Any], dict[str, NDArray]]:
        """Return JSON data and arrays for the map file; ``unpacked`` reads them."""
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
        """Rebuild the set from what ``packed`` returned."""
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
    """Return the cells (N, 3) without duplicates, sorted by their cell numbers."""
    return cells[np.unique(numbers_of(cells), return_index=True)[1]]


def cell_table(cell_m: float, cells: Cells, values: NDArray[np.uint16]) -> VoxelGrid:
    """Return a sparse grid whose ``lookup`` gives ``values`` (N,) in ``cells`` (N, 3), else 0."""
    bricks = cells >> 3
    _, first, slot = np.unique(numbers_of(bricks), return_index=True, return_inverse=True)
    counts = np.zeros((len(first), BRICK**3), np.uint16)
    x, y, z = (cells & 7).T
    counts[slot, (z << 6) | (y << 3) | x] = values
    return VoxelGrid.from_bricks(cell_m, bricks[first].astype(np.int32), counts)


_PLAIN = ("id", "kind", "name", "stamp_ns", "points")


def _cells(entries: tuple[Annotation, ...]) -> list[Cells]:
    return [entry.cells for entry in entries]
