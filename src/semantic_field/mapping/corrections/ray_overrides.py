"""Lets training follow what people have said about the map."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.config import MappingConfig
from semantic_field.field.annotations import AnnotationSet, Cells, cell_table, distinct
from semantic_field.field.rays.rays import Rays
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.mapping.keyframes.pixels_and_points import seen_at
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.labels.classes import ClassTable

FOCUS_CELLS = 256
BESIDE = 1 / 20  # of the image's width: how far beside a region rays look as well
RELEASED = 65535  # in the table of cells: the annotation was taken back


class Corrections:
    """Gives rays the label of the annotated cell that they end in, and draws more rays there.

    Rays that the stream says nothing about are left out of the label loss, as before, unless
    there are annotations: where keyframes come without labels, what nobody has annotated is then
    taught to be nothing (``ClassTable.none_row``), for otherwise the whole map would take the name
    of the one thing that has a name. The same holds for cells whose annotation was taken back.

    Attributes:
        table: what is said of each annotated cell, a row of the label head plus one or
            ``RELEASED``; another object after each change, None where nothing is said.
        none_row: row of "nothing"; -1 while there are no annotations.
    """

    def __init__(self, config: MappingConfig) -> None:
        self.config = config
        self.table: VoxelGrid | None = None
        self.none_row = -1
        self._labelled = np.zeros(0, np.int64), np.zeros(0, bool)  # serials, and whether labelled
        self._fresh: Cells = np.zeros((0, 3), np.int32)
        self._fresh_until = -1
        self._pixels: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None

    def follow(self, annotations: AnnotationSet, classes: ClassTable) -> None:
        """Take over a set of annotations, whose classes are all in the table."""
        self._cell_m, self.none_row, self.table = annotations.cell_m, -1, None
        if not annotations:
            return
        self.none_row = classes.none_row()
        cells, class_ids = annotations.claims()
        values = np.array([classes.row(int(i)) + 1 for i in class_ids], np.uint16)
        released = np.full(len(annotations.released), RELEASED, np.uint16)
        self.table = cell_table(
            annotations.cell_m,
            np.concatenate([annotations.released, cells]),
            np.concatenate([released, values]),
        )

    def focus(self, cells: Cells, rays: int) -> None:
        """Look at these cells, and at those that are fresh still, for a while after ``rays``."""
        if self.are_fresh(rays):
            cells = distinct(np.concatenate([self._fresh, cells]))
        self._fresh, self._pixels = cells, None
        self._fresh_until = rays + int(self.config.annotation_rays)

    def are_fresh(self, rays: int) -> bool:
        """Whether something was annotated within the last rays of training."""
        return rays < self._fresh_until

    def redirect(
        self,
        slots: NDArray[np.int64],
        pixels: NDArray[np.int64],
        keyframes: KeyframeStore,
        rays: int,
        random: np.random.Generator,
    ) -> None:
        """Let the last rays look at what was annotated just now, while it is fresh.

        Writes into the rays' ``slots`` and ``pixels`` (R,); half of the share looks beside it.
        """
        count = int(self.config.annotation_share * len(slots))
        if not self.are_fresh(rays) or self.table is None or not count:
            return
        where, which = self._fresh_pixels(keyframes, random)
        if len(where):
            chosen = random.integers(len(where), size=count)
            slots[-count:], pixels[-count:] = where[chosen], which[chosen]
            beside = slice(len(slots) - count // 2, None)
            sizes = keyframes.cameras.sizes[slots[beside]]
            pixels[beside] = _beside(pixels[beside], sizes, random)

    def apply(self, rays: Rays, keyframes: KeyframeStore) -> None:
        """Overrule labels and their weights where there are annotations, on the processor."""
        found = silent = None
        if self.table is not None:
            counts = self.table.lookup(rays.ends().numpy()).astype(np.int64)
            silent = ~torch.from_numpy(self.has_labels(keyframes))[rays.slot]
            found = torch.from_numpy(counts)
        self.overrule(rays, found, silent)

    def overrule(
        self, rays: Rays, found: Int[Tensor, " R"] | None, silent: Bool[Tensor, " R"] | None
    ) -> None:
        """Write into the rays' labels and label weights what annotations say, on any device.

        Args:
            found: what ``table`` holds where each ray ends; None where there is no table.
            silent: whether a ray's keyframe came without a label image.
        """
        rays.label_weight.fill_(self.config.stream_label_weight)
        if found is None or silent is None:
            return
        known = rays.trust > 0  # else there is no reading, or the thing is gone
        claimed = known & (found > 0) & (found < RELEASED)
        nothing = known & (rays.label < 0) & (silent | (found == RELEASED))
        rays.label.masked_fill_(nothing, self.none_row)
        rays.label.copy_(torch.where(claimed, found - 1, rays.label))
        rays.label_weight.masked_fill_(claimed, self.config.annotation_weight)

    def has_labels(self, keyframes: KeyframeStore) -> NDArray[np.bool_]:
        """Which keyframes (K,) came with a label image."""
        serials, (before, known) = keyframes.serials[: keyframes.count], self._labelled
        if not np.array_equal(serials, before):
            of_serial = dict(zip(before.tolist(), known.tolist(), strict=True))
            for slot, serial in enumerate(serials.tolist()):
                if serial not in of_serial:
                    of_serial[serial] = bool((keyframes.images.labels[slot] >= 0).any())
            known = np.array([of_serial[serial] for serial in serials.tolist()])
            self._labelled = serials.copy(), known
        return known

    def _fresh_pixels(
        self, keyframes: KeyframeStore, random: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Keyframe and pixel numbers that show the fresh cells; found again for new keyframes."""
        newest = int(keyframes.serials[: keyframes.count].max())
        if self._pixels is None or self._pixels[0] != newest:
            cells = self._fresh
            if len(cells) > FOCUS_CELLS:
                cells = cells[random.choice(len(cells), FOCUS_CELLS, replace=False)]
            centres = (cells + 0.5) * self._cell_m
            self._pixels = newest, *seen_at(keyframes, centres.astype(np.float32))
        _, slots, pixels = self._pixels
        return slots, pixels


def _beside(
    pixels: NDArray[np.int64], sizes: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.int64]:
    """Pixels at random around the given ones: what must not change is looked at as well."""
    width, height = sizes.T
    shift = random.normal(size=(2, len(pixels))) * width * BESIDE
    u = np.clip(pixels % width + shift[0], 0, width - 1).astype(np.int64)
    v = np.clip(pixels // width + shift[1], 0, height - 1).astype(np.int64)
    return v * width + u
