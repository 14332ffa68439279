"""Compressed language targets per keyframe: latents, pseudo-labels, patch features, regions."""

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
CELL_PIXELS = 64  # least number of pixels per cell of dense targets
LABEL_BYTES = 6  # row, weight and unit, and latents of units (0.1 at 640x480, 0.4 at 320x240)
OWN_SHARE = 0.3  # weight of a cell for its pixel, if the image has no units
MOST_UNITS = 256  # per keyframe; the smallest ones are dropped


def bytes_per_pixel(latent_dim: int, scales: int = 3) -> int:
    """Return the largest number of bytes of targets per keyframe pixel."""
    return -(-(scales * latent_dim + PATCH_DIM) * 2 // CELL_PIXELS) + LABEL_BYTES


class DenseTargets:
    """Targets in the keyframes' slots; targets of removed keyframes are ignored.

    Arrays are reserved for all slots; the operating system allocates memory as they are filled.
    Dense features are stored as latents, float16, at the teacher's resolution (or with as many
    cells as the memory limit allows).

    Attributes:
        latents: float16 (K, cells, S, D).
        rows: int16 (K, label pixels), pseudo-labels, -1 = none.
        weights: uint8 (K, label pixels), confidence of the label, 255 = 1.
        patches: float16 (K, cells, P), compressed patch features.
        regions: region proposals by slot.
        has_patches: bool (K,).
        units: int16 (K, label pixels), the unit (region) of each pixel, -1 = none.
        unit_latents: float16 (K, units, D); for pixels of a unit they replace the cells' latents.
        unit_known: float16 (K, units), determined share of each latent, see ``unit_features``.
        ranks: int64 (K,), number of latent columns in use when the targets were stored.
    """

    def __init__(
        self, store: KeyframeStore, first: ImageTargets, latent_dim: int, label_width: int
    ) -> None:
        assert first.embedding is not None
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

    def arrays(self) -> tuple[NDArray, ...]:
        """Return all arrays that are indexed by slot."""
        of_units = (self.units, self.unit_latents, self.unit_known)
        return (self.latents, self.rows, self.weights, self.patches, *of_units)

    def _move(self, source: int, target: int) -> None:
        """Follow a keyframe that was moved to another slot."""
        for array in (*self.arrays(), self.has_patches, self._identities, self.ranks):
            array[target] = array[source]
        self.regions.pop(target, None)
        if source in self.regions:
            self.regions[target] = self.regions.pop(source)

    def slot_of(self, identity: int) -> int:
        """Return the slot of the keyframe with this identity; -1 if it has no targets."""
        found = self.current()[self.identities() == identity]
        return int(found[0]) if len(found) else -1

    def put(
        self, slot: int, latents: Float[Tensor, "S h w D"], targets: ImageTargets, rank: int
    ) -> None:
        """Store the targets of the keyframe in ``slot``, without labels and units."""
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
        """Project patches onto the principal directions of the first frame's patches."""
        if self._patch_basis is None:
            most = min(PATCH_DIM, *patches.shape)
            basis = torch.linalg.svd(patches, full_matrices=False)[2][:most].T
            self._patch_basis = functional.pad(basis, (0, PATCH_DIM - most))
        return patches @ self._patch_basis

    def set_labels(self, slot: int, rows: NDArray[np.int16], weights: NDArray[np.float32]) -> None:
        """Set pseudo-labels and weights of a keyframe, images (H, W) of any size."""
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
        """Set the units (H, W) of a keyframe, -1 = none, with their latents and known shares."""
        h, w = self.label_size
        near = cv2.resize(units, (w, h), interpolation=cv2.INTER_NEAREST_EXACT)
        self.units[slot] = near.ravel()
        self.unit_latents[slot, : len(latents)] = latents.half().numpy()
        self.unit_known[slot, : len(known)] = known.half().numpy()

    def shown_by_units(self, slot: int) -> tuple[Float[Tensor, "U D"], NDArray[np.float32]]:
        """Return latents (U, D) and known shares (U,) of a keyframe's units; U = 0 without."""
        count = int(self.units[slot].max()) + 1
        latents = torch.from_numpy(self.unit_latents[slot, :count]).float()
        return latents, self.unit_known[slot, :count].astype(np.float32)

    def label_units(self, slot: int, rows: NDArray[np.int16], sure: NDArray[np.float32]) -> None:
        """Set pseudo-labels (U,) and confidences (U,) of the units of a keyframe."""
        self.rows[slot] = np.append(rows, np.int16(-1))[self.units[slot]]
        self.weights[slot] = np.append(255 * sure, 0).astype(np.uint8)[self.units[slot]]

    def current(self) -> NDArray[np.int64]:
        """Return the slots whose keyframe has targets."""
        count = self.store.count
        return np.flatnonzero(self._identities[:count] == self.store.identities[:count])

    def identities(self) -> NDArray[np.int64]:
        """Return the identities of the keyframes that have targets."""
        return self._identities[self.current()]

    def look_up(
        self, slots: NDArray[np.int64], pixels: NDArray[np.int64]
    ) -> tuple[Float[Tensor, "R S D"], Float[Tensor, " R"]]:
        """Return the target latents of rays, and their known shares, 0 without target."""
        return self._shown(slots, pixels)[:2]

    def look_up_labels(
        self, slots: NDArray[np.int64], pixels: NDArray[np.int64]
    ) -> tuple[Int[Tensor, " R"], Float[Tensor, " R"]]:
        """Return the label rows of rays, -1 = none, and their weights, 0..1."""
        label = self._cell(slots, pixels, self.label_size)
        rows = np.where(self._are_current(slots), self.rows[slots, label], -1).astype(np.int64)
        weights = self.weights[slots, label].astype(np.float32) / 255.0
        return torch.from_numpy(rows), torch.from_numpy(weights)

    def latents_at(
        self, slot: int, pixels: NDArray[np.int64]
    ) -> tuple[Float[Tensor, "N D"], Float[Tensor, " N"]]:
        """Return mean latents over scales at pixels of a keyframe, and their known shares.

        Latents are multiplied by these shares. Without units the share is reduced to
        ``OWN_SHARE``, as a cell also shows the surroundings of the pixel.
        """
        latents, share, unit = self._shown(np.full(len(pixels), slot), pixels)
        own = torch.from_numpy(np.where(unit >= 0, 1.0, OWN_SHARE).astype(np.float32))
        return latents.mean(1) * own[:, None], share * own

    def _shown(
        self, slots: NDArray[np.int64], pixels: NDArray[np.int64]
    ) -> tuple[Float[Tensor, "R S D"], Float[Tensor, " R"], NDArray[np.int16]]:
        """Return latents, known shares, and the unit (R,) of each pixel."""
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
        """Return the patch features (R, P) of pixels of one keyframe."""
        slots = np.full(len(pixels), slot)
        return torch.from_numpy(self.patches[slot, self._cell(slots, pixels, self.grid)]).float()

    def _cell(self, slots: NDArray, pixels: NDArray, grid: tuple[int, int]) -> NDArray[np.int64]:
        width, height = self.store.cameras.sizes[slots].T
        place = np.stack([pixels // width, pixels % width], -1)
        row, column = cells_of(place, np.stack([height, width], -1), grid).T
        return row * grid[1] + column

    def cell_latents(self, slot: int) -> Float[Tensor, "h w S D"]:
        """Return the stored latents of a keyframe as an image."""
        return torch.from_numpy(self.latents[slot]).float().unflatten(0, self.grid)

    def memory_bytes(self) -> int:
        """Return the bytes of the targets in use; may be called while they change."""
        arrays = (self.latents, self.rows, self.weights, self.units)
        arrays += (self.unit_latents, self.unit_known)
        arrays += (self.patches,) if self.has_patches.any() else ()
        runs = sum(r.starts.nbytes + r.stops.nbytes for r in list(self.regions.values()))
        return len(self.current()) * sum(a[0].nbytes for a in arrays) + runs


def _fitted(image: Float[Tensor, "S h w D"], grid: tuple[int, int]) -> Float[Tensor, "S a b D"]:
    """Resample an image to another grid of cells by area averaging."""
    if image.shape[1:3] == torch.Size(grid):
        return image
    return functional.adaptive_avg_pool2d(image.permute(0, 3, 1, 2), grid).permute(0, 2, 3, 1)
