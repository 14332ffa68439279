"""Lets training follow what people have said about the map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semantic_field.config import MappingConfig
from semantic_field.field.annotations import AnnotationSet, Cells, cell_table, distinct
from semantic_field.field.rays.sampling import RaySamples
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.mapping.keyframes.pixels_and_points import seen_at
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.labels.classes import ClassTable

FOCUS_CELLS = 256
BESIDE = 1 / 20  # of the image's width: how far beside a region rays look as well
_RELEASED = 65535  # in the table of cells; others hold a row of the label head, plus one


class Corrections:
    """Gives rays the label of the annotated cell that they end in, and draws more rays there.

    Rays that the stream says nothing about are left out of the label loss, as before, unless
    there are annotations: where keyframes come without labels, what nobody has annotated is then
    taught to be nothing (``ClassTable.none_row``), for otherwise the whole map would take the name
    of the one thing that has a name. The same holds for cells whose annotation was taken back.
    """

    def __init__(self, config: MappingConfig) -> None:
        self.config = config
        self._table: VoxelGrid | None = None
        self._none_row = -1
        self._labelled = np.zeros(0, np.int64), np.zeros(0, bool)  # serials, and whether labelled
        self._fresh: Cells = np.zeros((0, 3), np.int32)
        self._fresh_until = -1
        self._pixels: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None

    def follow(self, annotations: AnnotationSet, classes: ClassTable) -> None:
        """Take over a set of annotations, whose classes are all in the table."""
        self._cell_m, self._none_row, self._table = annotations.cell_m, -1, None
        if not annotations:
            return
        self._none_row = classes.none_row()
        cells, class_ids = annotations.claims()
        values = np.array([classes.row(int(i)) + 1 for i in class_ids], np.uint16)
        released = np.full(len(annotations.released), _RELEASED, np.uint16)
        self._table = cell_table(
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
        if not self.are_fresh(rays) or self._table is None or not count:
            return
        where, which = self._fresh_pixels(keyframes, random)
        if len(where):
            chosen = random.integers(len(where), size=count)
            slots[-count:], pixels[-count:] = where[chosen], which[chosen]
            beside = slice(len(slots) - count // 2, None)
            sizes = keyframes.cameras.sizes[slots[beside]]
            pixels[beside] = _beside(pixels[beside], sizes, random)

    def apply(self, rays: RaySamples, keyframes: KeyframeStore) -> None:
        """Overrule labels and their weights where there are annotations."""
        rays.label_weight[:] = self.config.stream_label_weight
        if self._table is None:
            return
        found = self._table.lookup(rays.ends()).astype(np.int64)
        found[rays.trust <= 0] = 0  # no reading, or of a thing that is gone
        claimed = (found > 0) & (found < _RELEASED)
        silent = ~self._has_labels(keyframes)[rays.slot]
        nothing = (rays.label < 0) & (rays.trust > 0) & (silent | (found == _RELEASED))
        rays.label[nothing] = self._none_row
        rays.label[claimed] = found[claimed] - 1
        rays.label_weight[claimed] = self.config.annotation_weight

    def _has_labels(self, keyframes: KeyframeStore) -> NDArray[np.bool_]:
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
