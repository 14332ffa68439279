"""Applies annotations in training: overrides ray labels and samples more rays there."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
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
BESIDE = 1 / 20  # standard deviation of rays next to a region, of the image width
RELEASED = 65535  # value of released cells in the table; others hold a label row plus one


class Corrections:
    """Labels rays by the annotated cell in which they end, and draws more rays there.

    Without annotations, unlabelled rays are left out of the label loss. With annotations, rays of
    keyframes without label images that end outside of annotated cells are trained as "no class"
    (``ClassTable.none_row``): otherwise the whole map would get the class of the only annotated
    object. The same holds for cells whose annotation was deleted.

    Attributes:
        table: per annotated cell, a row of the label head plus one, or ``RELEASED``; replaced by
            another object after each change, None without annotations.
        none_row: row of "no class"; -1 without annotations.
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
        """Use a new set of annotations; ``classes`` gives the label rows."""
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
        """Treat cells as fresh for ``annotation_rays`` more rays, with those that still are.

        ``rays`` is the number of training rays so far.
        """
        if self.are_fresh(rays):
            cells = distinct(np.concatenate([self._fresh, cells]))
        self._fresh, self._pixels = cells, None
        self._fresh_until = rays + int(self.config.annotation_rays)

    def are_fresh(self, rays: int) -> bool:
        """Return whether there are fresh annotations after ``rays`` training rays."""
        return rays < self._fresh_until

    def redirect(
        self,
        slots: NDArray[np.int64],
        pixels: NDArray[np.int64],
        keyframes: KeyframeStore,
        rays: int,
        random: np.random.Generator,
    ) -> None:
        """Redirect the last rays of a batch to fresh annotations, in place.

        Overwrites a share (``annotation_share``) of the rays' ``slots`` and ``pixels`` (R,); half
        of these are moved to the surroundings of the annotation.
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
        """Override labels and label weights of rays that end in annotated cells, on the CPU."""
        found = silent = None
        if self.table is not None:
            counts = self.table.lookup(rays.ends().numpy()).astype(np.int64)
            silent = ~torch.from_numpy(self.has_labels(keyframes))[rays.slot]
            found = torch.from_numpy(counts)
        sure = None
        if keyframes.doubts is not None:
            doubts = keyframes.doubts[rays.slot.numpy(), rays.pixel.numpy()]
            sure = 1.0 - torch.from_numpy(doubts).float() / 255.0
        self.overrule(rays, found, silent, sure)

    def overrule(
        self,
        rays: Rays,
        found: Int[Tensor, " R"] | None,
        silent: Bool[Tensor, " R"] | None,
        sure: Float[Tensor, " R"] | None = None,
    ) -> None:
        """Override labels and label weights of rays in place, on any device.

        Args:
            found: the entries of ``table`` where the rays end; None without a table.
            silent: whether the keyframe of each ray has no label image.
            sure: confidence of each ray's label, 0..1; None = all are certain.
        """
        rays.label_weight.fill_(self.config.stream_label_weight)
        if sure is not None:
            rays.label_weight.mul_(sure)
        if found is None or silent is None:
            return
        known = rays.trust > 0  # else there is no reading, or the thing is gone
        claimed = known & (found > 0) & (found < RELEASED)
        nothing = known & (rays.label < 0) & (silent | (found == RELEASED))
        rays.label.masked_fill_(nothing, self.none_row)
        rays.label.copy_(torch.where(claimed, found - 1, rays.label))
        rays.label_weight.masked_fill_(claimed, self.config.annotation_weight)

    def has_labels(self, keyframes: KeyframeStore) -> NDArray[np.bool_]:
        """Return which keyframes (K,) have label images."""
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
        """Return slots and pixels that show the fresh cells; cached until keyframes change."""
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
    """Return random pixels around the given ones, so that the surroundings are trained as well."""
    width, height = sizes.T
    shift = random.normal(size=(2, len(pixels))) * width * BESIDE
    u = np.clip(pixels % width + shift[0], 0, width - 1).astype(np.int64)
    v = np.clip(pixels // width + shift[1], 0, height - 1).astype(np.int64)
    return v * width + u
