"""What teachers said of each keyframe, compact: latents, pseudo-labels, patch features, regions."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.teachers.image_teachers import ImageTargets
from semantic_field.teachers.language import cells_of
from semantic_field.teachers.regions import Regions

PATCH_DIM = 32
CELL_PIXELS = 64  # a cell of dense targets stands for at least so many pixels
LABEL_BYTES = 6  # row, weight and unit, and latents of units (0.1 at 640x480, 0.4 at 320x240)
OWN_SHARE = 0.3  # of what a cell shows, where the image was not cut into units
MOST_UNITS = 256  # of a keyframe: smaller ones count as no unit


def bytes_per_pixel(latent_dim: int, scales: int = 3) -> int:
    """Bytes that the targets of one keyframe pixel take at most."""
    return -(-(scales * latent_dim + PATCH_DIM) * 2 // CELL_PIXELS) + LABEL_BYTES


class DenseTargets:
    """Targets in the keyframes' slots; a keyframe that has left its slot has none any more.

    Arrays are reserved for all slots; the operating system provides memory as they are filled.
    Dense features are kept in the latent space, as float16 at the teacher's own resolution (or
    as many cells as the byte budget has room for).

    Attributes:
        latents: float16 (K, cells, S, D). rows: int16 (K, label pixels), -1 = no label.
        weights: uint8 (K, label pixels), how sure the label is, of 255.
        units: int16 (K, label pixels), the part of the image that a pixel belongs to, -1 = none.
        unit_latents: float16 (K, units, D); where there is a unit, they replace the cells'.
        ranks: int64 (K,), columns of the latent that were in use when the targets came.
        unit_known: float16 (K, units), the share of each that is known, see ``unit_features``.
    """

    def __init__(
        self, store: KeyframeStore, first: ImageTargets, latent_dim: int, label_width: int
    ) -> None:
        scales, h, w, _ = first.embedding.shape
        width, height = store.size
        shrink = min(1.0, (width * height / CELL_PIXELS / (h * w)) ** 0.5)
        self.grid = max(1, int(h * shrink)), max(1, int(w * shrink))
        self.label_size = round(height * min(1.0, label_width / width)), min(width, label_width)
        capacity, cells = store.capacity, self.grid[0] * self.grid[1]
        self.latents = np.zeros((capacity, cells, scales, latent_dim), np.float16)
        self.rows = np.full((capacity, self.label_size[0] * self.label_size[1]), -1, np.int16)
        self.weights = np.zeros(self.rows.shape, np.uint8)
        self.patches = np.zeros((capacity, cells, PATCH_DIM), np.float16)
        self.regions: dict[int, Regions] = {}
        self.has_patches = np.zeros(capacity, np.bool_)
        self.units = np.full(self.rows.shape, -1, np.int16)
        self.unit_latents = np.zeros((capacity, MOST_UNITS, latent_dim), np.float16)
        self.unit_known = np.zeros((capacity, MOST_UNITS), np.float16)
        self._identities, self.ranks = np.zeros(capacity, np.int64), np.zeros(capacity, np.int64)
        self.store = store
        store.tell_moves(self._move)
        self._patch_basis: Tensor | None = None

    def _arrays(self) -> tuple[NDArray, ...]:
        """All that is kept by slot."""
        of_units = (self.units, self.unit_latents, self.unit_known)
        return (self.latents, self.rows, self.weights, self.patches, *of_units)

    def _move(self, source: int, target: int) -> None:
        """A keyframe has moved to another slot."""
        for array in (*self._arrays(), self.has_patches, self._identities, self.ranks):
            array[target] = array[source]
        self.regions.pop(target, None)
        if source in self.regions:
            self.regions[target] = self.regions.pop(source)

    def slot_of(self, identity: int) -> int:
        """Where the keyframe of that identity and its targets are; -1 where it has none."""
        found = self.current()[self.identities() == identity]
        return int(found[0]) if len(found) else -1

    def put(
        self, slot: int, latents: Float[Tensor, "S h w D"], targets: ImageTargets, rank: int
    ) -> None:
        """Keep the targets of the keyframe that is in ``slot``; it has no labels yet."""
        self.ranks[slot] = rank
        self.latents[slot] = _fitted(latents, self.grid).flatten(1, 2).transpose(0, 1).half()
        self.rows[slot], self._identities[slot] = -1, self.store.identities[slot]
        self.units[slot] = -1
        self.has_patches[slot] = targets.patches is not None
        self.regions.pop(slot, None)
        if targets.regions is not None:
            self.regions[slot] = targets.regions
        if targets.patches is not None:
            patches = functional.normalize(targets.patches.float(), dim=-1)
            fitted = _fitted(patches[None], self.grid)[0].flatten(0, 1)
            self.patches[slot] = self._patch_part(fitted).half()

    def _patch_part(self, patches: Float[Tensor, "N K"]) -> Float[Tensor, "N P"]:
        """The part in the main directions of the first frame's patches, which keeps cosines."""
        if self._patch_basis is None:
            most = min(PATCH_DIM, *patches.shape)
            basis = torch.linalg.svd(patches, full_matrices=False)[2][:most].T
            self._patch_basis = functional.pad(basis, (0, PATCH_DIM - most))
        return patches @ self._patch_basis

    def set_labels(self, slot: int, rows: NDArray[np.int16], weights: NDArray[np.float32]) -> None:
        """Pseudo-labels of a keyframe, images of one size (any)."""
        h, w = self.label_size
        near = [cv2.resize(image, (w, h), interpolation=cv2.INTER_NEAREST_EXACT)
                for image in (rows, (255 * weights).astype(np.uint8))]  # fmt: skip
        self.rows[slot], self.weights[slot] = near[0].ravel(), near[1].ravel()

    def set_units(
        self,
        slot: int,
        units: NDArray[np.int16],
        latents: Float[Tensor, "U D"],
        known: Float[Tensor, " U"],
    ) -> None:
        """The image cut into units (H, W), -1 = none, and what each shows in place of its cells."""
        h, w = self.label_size
        near = cv2.resize(units, (w, h), interpolation=cv2.INTER_NEAREST_EXACT)
        self.units[slot] = near.ravel()
        self.unit_latents[slot, : len(latents)] = latents.half().numpy()
        self.unit_known[slot, : len(known)] = known.half().numpy()

    def shown_by_units(self, slot: int) -> tuple[Float[Tensor, "U D"], NDArray[np.float32]]:
        """What each unit of a keyframe shows, and how far it is known; none: it was not cut."""
        count = int(self.units[slot].max()) + 1
        latents = torch.from_numpy(self.unit_latents[slot, :count]).float()
        return latents, self.unit_known[slot, :count].astype(np.float32)

    def label_units(self, slot: int, rows: NDArray[np.int16], sure: NDArray[np.float32]) -> None:
        """Pseudo-labels of the units of a keyframe, (U,) each."""
        self.rows[slot] = np.append(rows, np.int16(-1))[self.units[slot]]
        self.weights[slot] = np.append(255 * sure, 0).astype(np.uint8)[self.units[slot]]

    def current(self) -> NDArray[np.int64]:
        """The slots whose keyframe has targets."""
        count = self.store.count
        return np.flatnonzero(self._identities[:count] == self.store.identities[:count])

    def identities(self) -> NDArray[np.int64]:
        """Of the keyframes that have targets."""
        return self._identities[self.current()]

    def look_up(
        self, slots: NDArray[np.int64], pixels: NDArray[np.int64]
    ) -> tuple[Float[Tensor, "R S D"], Float[Tensor, " R"]]:
        """Latents of rays, and how far they are known."""
        return self._shown(slots, pixels)[:2]

    def look_up_labels(
        self, slots: NDArray[np.int64], pixels: NDArray[np.int64]
    ) -> tuple[Int[Tensor, " R"], Float[Tensor, " R"]]:
        """Label rows of rays, -1 = none, and their weights."""
        label = self._cell(slots, pixels, self.label_size)
        rows = np.where(self._are_current(slots), self.rows[slots, label], -1).astype(np.int64)
        weights = self.weights[slots, label].astype(np.float32) / 255.0
        return torch.from_numpy(rows), torch.from_numpy(weights)

    def latents_at(
        self, slot: int, pixels: NDArray[np.int64]
    ) -> tuple[Float[Tensor, "N D"], Float[Tensor, " N"]]:
        """Mean latents over the scales at pixels of one keyframe, and how far they are known.

        Latents come times these shares, and cells show more than what the pixel is of.
        """
        latents, share, unit = self._shown(np.full(len(pixels), slot), pixels)
        own = torch.from_numpy(np.where(unit >= 0, 1.0, OWN_SHARE).astype(np.float32))
        return latents.mean(1) * own[:, None], share * own

    def _shown(
        self, slots: NDArray[np.int64], pixels: NDArray[np.int64]
    ) -> tuple[Float[Tensor, "R S D"], Float[Tensor, " R"], NDArray[np.int16]]:
        """Latents, how far they are known, and the unit (R,) of each pixel."""
        unit = self.units[slots, self._cell(slots, pixels, self.label_size)]
        own = torch.from_numpy(self.unit_latents[slots, np.maximum(unit, 0)]).float()
        latents = own[:, None].repeat(1, self.latents.shape[2], 1)
        uncut = np.flatnonzero(unit < 0)
        cell = self._cell(slots[uncut], pixels[uncut], self.grid)
        latents[uncut] = torch.from_numpy(self.latents[slots[uncut], cell]).float()
        share = np.where(unit >= 0, self.unit_known[slots, np.maximum(unit, 0)], 1.0)
        there = self._are_current(slots) & (latents.square().sum((1, 2)) > 1e-6).numpy()
        return latents, torch.from_numpy((share * there).astype(np.float32)), unit

    def _are_current(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        return self._identities[slots] == self.store.identities[slots]

    def look_up_patches(self, slot: int, pixels: NDArray[np.int64]) -> Tensor:
        """Patch features (R, P) of pixels of one keyframe."""
        slots = np.full(len(pixels), slot)
        return torch.from_numpy(self.patches[slot, self._cell(slots, pixels, self.grid)]).float()

    def _cell(self, slots: NDArray, pixels: NDArray, grid: tuple[int, int]) -> NDArray[np.int64]:
        width, height = self.store.cameras.sizes[slots].T
        place = np.stack([pixels // width, pixels % width], -1)
        row, column = cells_of(place, np.stack([height, width], -1), grid).T
        return row * grid[1] + column

    def cell_latents(self, slot: int) -> Float[Tensor, "h w S D"]:
        """The stored latents of a keyframe as an image."""
        return torch.from_numpy(self.latents[slot]).float().unflatten(0, self.grid)

    def memory_bytes(self) -> int:
        """Bytes of the targets in use; may be asked for while they change."""
        arrays = (self.latents, self.rows, self.weights, self.units)
        arrays += (self.unit_latents, self.unit_known)
        arrays += (self.patches,) if self.has_patches.any() else ()
        runs = sum(r.starts.nbytes + r.stops.nbytes for r in list(self.regions.values()))
        return len(self.current()) * sum(a[0].nbytes for a in arrays) + runs


def _fitted(image: Float[Tensor, "S h w D"], grid: tuple[int, int]) -> Float[Tensor, "S a b D"]:
    """The image at another grid of cells, by area."""
    if image.shape[1:3] == torch.Size(grid):
        return image
    return functional.adaptive_avg_pool2d(image.permute(0, 3, 1, 2), grid).permute(0, 2, 3, 1)
