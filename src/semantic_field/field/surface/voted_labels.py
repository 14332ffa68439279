"""Labels of surface points by the votes of the keyframes that see them.

The votes of the voxels around a point are interpolated trilinearly. The field's label there has a
prior of its own votes, which decides where few keyframes see the point, or where they contradict
each other. Labels given by people overrule both.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.field.annotations import AnnotationSet
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.field.surface.vote_table import (
    CLASSES,
    NONE,
    UNITS,
    VoteTable,
    find,
    voxel_key,
)
from semantic_field.kernels.threads import run_chunks

PRIOR = 0.3  # votes of the field
DOUBT = 0.5  # additional votes of the field for each vote against the keyframes' most likely class
LEAST_VOTES = 0.02  # fewer votes at a point do not count
STORED = 2  # classes of a voxel in a map file
LOG_STEPS = 15.9  # steps of stored votes for each doubling
IN_BRICK = (7 << 42) | (7 << 21) | 7
AROUND = 8 * CLASSES
POINTS_PER_TASK = 1 << 14


@dataclass(frozen=True)
class VotedLabels:
    """The votes of a map's keyframes. Never modified after creation.

    Attributes:
        table: votes for rows of the label head.
        latents: float16 (C, D), the latent of each row's class name; (0, D) if the latents of the
            map are learnt from images.
    """

    table: VoteTable
    latents: NDArray[np.float16]

    def labelled(
        self,
        points: SurfacePoints,
        class_ids: tuple[int, ...],
        annotations: AnnotationSet,
        threads: int,
    ) -> SurfacePoints:
        """Return points of the field (N) with the labels and latents of the keyframes' votes.

        Args:
            points: their labels and latents are those of the field, which are kept where no
                keyframe has voted.
            class_ids: class id of each row of the label head.
        """
        if not len(points) or not class_ids:
            return points
        ids = np.asarray(class_ids, np.int32)
        field_rows = _rows_of(points.label, ids)
        rows = np.empty(len(points), np.int64)
        seen = np.empty(len(points), np.float32)

        def work(start: int, stop: int) -> None:
            part = slice(start, stop)
            self._vote(points.xyz[part], field_rows[part], rows[part], seen[part])

        run_chunks(work, len(points), threads, POINTS_PER_TASK)
        voted = seen > 0
        label = np.where(voted, ids[np.maximum(rows, 0)], points.label)
        said = annotations.overrule(points.xyz, label)
        changed = voted | (said != label)
        rows = np.where(said == label, rows, _rows_of(said, ids))
        latent = points.latent
        if len(self.latents) and latent.shape[1]:
            known = np.flatnonzero(changed & (rows >= 0) & (rows < len(self.latents)))
            latent = latent.copy()
            latent[known] = self.latents[rows[known]]
        return replace(points, label=said.astype(np.int32), latent=latent, seen=seen)

    def packed(self) -> dict[str, NDArray]:
        """Return the votes as arrays for the map file; ``unpacked`` reads them.

        Only the two strongest classes of a voxel are stored, their votes as bytes of a logarithm.
        """
        return self._packed

    @cached_property
    def _packed(self) -> dict[str, NDArray]:
        table, n = self.table, len(self.table)
        keys, rows, votes = table.keys[:n], table.rows[:n], table.votes[:n]
        used = np.flatnonzero(votes.any(1))
        bricks, cells = _bricks_of(keys[used])
        sort = np.argsort(_compact(bricks) | cells)
        used, bricks, cells = used[sort], bricks[sort], cells[sort]
        bricks, sizes = np.unique(bricks, return_counts=True)
        order = np.argsort(-votes[used].astype(np.int32), axis=1, kind="stable")[:, :STORED]
        kept = np.take_along_axis(votes[used], order, 1)
        small = np.take_along_axis(rows[used], order, 1)
        steps = np.rint(LOG_STEPS * np.log2(1.0 + kept)).astype(np.uint8)
        return {
            "cell_m": np.array(table.cell_m),
            "bricks": bricks,
            "sizes": sizes.astype(np.uint16),
            "cells": cells.astype(np.uint16),
            "rows": small.astype(np.uint8) if small.max(initial=0) < 256 else small,
            "votes": steps,
            "latents": self.latents,
        }

    @classmethod
    def unpacked(cls, arrays: dict[str, NDArray], classes: int) -> VotedLabels:
        """Rebuild votes from what ``packed`` returned.

        Args:
            classes: number of rows of the label head.
        Raises:
            ValueError: if the arrays do not fit together.
        """
        bricks = np.repeat(arrays["bricks"].astype(np.int64), arrays["sizes"])
        keys = _keys_of(bricks, arrays["cells"].astype(np.int64))
        n = len(keys)
        rows, votes = np.zeros((n, CLASSES), np.int16), np.zeros((n, CLASSES), np.uint16)
        rows[:, :STORED] = arrays["rows"]
        votes[:, :STORED] = np.rint(np.exp2(arrays["votes"] / LOG_STEPS) - 1.0)
        distinct = len(np.unique(keys)) == n
        if n and not (rows.min() >= 0 and rows.max() < classes and distinct):
            raise ValueError(
                f"expected votes for rows below {classes} in different voxels, got rows "
                f"{rows.min()} to {rows.max()}; the map is damaged, use an earlier copy"
            )
        table = VoteTable.of(float(arrays["cell_m"]), keys, rows, votes)
        return cls(table, arrays["latents"])

    def _vote(self, xyz: NDArray, field_rows: NDArray, rows: NDArray, seen: NDArray) -> None:
        table = self.table
        arrays = (table.places, table.keys, table.rows, table.votes)
        _decide(xyz, field_rows, table.cell_m, *arrays, rows, seen)


def _bricks_of(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the brick of 8 x 8 x 8 voxels (N,) of each key (N,), and the voxel's number in it."""
    inside = keys & IN_BRICK
    return keys - inside, (inside >> 36) | ((inside >> 18) & 0x38) | (inside & 7)


def _compact(bricks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return numbers (N,) that order bricks as their keys do, with nine free bits for voxels."""
    x, y, z = ((bricks >> shift) & ((1 << 21) - 1) for shift in (42, 21, 0))
    return (x >> 3) << 45 | (y >> 3) << 27 | (z >> 3) << 9


def _keys_of(bricks: NDArray[np.int64], cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the keys (N,) of voxels, given as ``_bricks_of`` returns them."""
    return bricks | ((cells & 0x1C0) << 36) | ((cells & 0x38) << 18) | (cells & 7)


def _rows_of(label: NDArray[np.integer], ids: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the row (N,) of each class id (N,); -1 for ids without a row."""
    order = np.argsort(ids, kind="stable")
    place = np.minimum(np.searchsorted(ids[order], label), max(len(ids) - 1, 0))
    if not len(ids):
        return np.full(len(label), -1, np.int64)
    rows = order[place]
    return np.where(ids[rows] == label, rows, -1)


@njit(nogil=True, cache=True, error_model="numpy")
def _decide(xyz, field_rows, cell_m, places, keys, rows, votes, winner, seen):
    """Fill the winning row of each point, and the votes of keyframes there, 0 = none."""
    classes, sums = np.empty(AROUND, np.int64), np.empty(AROUND, np.float32)
    for n in range(len(xyz)):
        x, y, z = xyz[n, 0] / cell_m - 0.5, xyz[n, 1] / cell_m - 0.5, xyz[n, 2] / cell_m - 0.5
        a, b, c = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
        found, total = 0, np.float32(0)
        for corner in range(8):
            i, j, k = corner & 1, (corner >> 1) & 1, corner >> 2
            voxel = find(voxel_key(a + i, b + j, c + k), places, keys)
            if voxel == NONE:
                continue
            share = abs(1 - i - (x - a)) * abs(1 - j - (y - b)) * abs(1 - k - (z - c)) / UNITS
            for place in range(CLASSES):
                amount = np.float32(share * votes[voxel, place])
                total += amount
                entry = 0
                while entry < found and classes[entry] != rows[voxel, place]:
                    entry += 1
                if entry == found and amount > 0:
                    classes[found], sums[found] = rows[voxel, place], np.float32(0)
                    found += 1
                if amount > 0:
                    sums[entry] += amount
        seen[n], winner[n] = np.float32(0), field_rows[n]
        if total < LEAST_VOTES:
            continue
        seen[n] = total
        best = np.float32(0)
        for entry in range(found):
            best = max(best, sums[entry])
        prior = np.float32(PRIOR) + np.float32(DOUBT) * (total - best)
        most = np.float32(0)
        if field_rows[n] >= 0:
            most = prior
            for entry in range(found):
                if classes[entry] == field_rows[n]:
                    most += sums[entry]
        for entry in range(found):
            if sums[entry] > most:
                most, winner[n] = sums[entry], classes[entry]
