"""Voxel grid on a torch device: lookups and ray traversal without synchronising with the CPU."""

# pyright: reportIndexIssue=false
from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.field.confidence import confidence_of
from semantic_field.field.voxels.traversal import NEVER, NUDGE
from semantic_field.field.voxels.voxel_grid import BRICK, ERROR_UNITS, VoxelGrid


class DeviceVoxels:
    """A device copy of a ``VoxelGrid``; ``load`` updates it.

    Memory is reserved in advance and doubled when it is too small, so that addresses rarely
    change: a CUDA graph that reads them stays valid while the grid grows.

    Attributes:
        version: version of the grid when it was copied; -1 before the first ``load``.
    """

    def __init__(self, voxel_m: float, device: torch.device | str) -> None:
        self.voxel_m = voxel_m
        self.low = torch.zeros(3, dtype=torch.int64, device=device)
        self.shape = torch.zeros(3, dtype=torch.int64, device=device)
        self._index = torch.zeros(1 << 12, dtype=torch.int32, device=device)
        self._counts = torch.zeros(1 << 17, dtype=torch.int16, device=device)
        self._errors = torch.zeros(0, 2, dtype=torch.int16, device=device)
        self.version = -1

    @classmethod
    def of(cls, grid: VoxelGrid, device: torch.device | str) -> DeviceVoxels:
        """Return a copy of a grid, errors included."""
        copied = cls(grid.voxel_m, device)
        copied.load(grid)
        errors = grid.errors[: len(grid)].view(np.int16).reshape(-1, 2)
        copied._errors = torch.from_numpy(errors).to(device, copy=True)
        return copied

    @property
    def room(self) -> tuple[int, int]:
        """Reserved capacity: entries of the brick index, and voxels."""
        return len(self._index), len(self._counts)

    @property
    def arrays(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Lowest brick, shape of the index, index and counts, as the Triton kernels read them."""
        return self.low, self.shape, self._index, self._counts

    def load(self, grid: VoxelGrid) -> None:
        """Copy the grid's current counts, but not its errors."""
        self._index = _filled(self._index, grid.index)
        self._counts = _filled(self._counts, grid.counts[: len(grid)].view(np.int16))
        self.low.copy_(torch.from_numpy(grid.low))
        self.shape.copy_(torch.tensor(grid.index.shape))
        self.version = grid.version

    def lookup(self, points: Float[Tensor, "*N 3"]) -> Tensor:
        """Return the observation count of the voxel around each point, int16 (*N,)."""
        place, known = self._places(points)
        return self._counts[place] * known

    def confidence(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """Return confidences in 0..1, see ``confidence_of``.

        Errors are included if the copy was made by ``of`` from a grid with errors.
        """
        place, known = self._places(points)
        counts = (self._counts[place] * known).float()
        if not len(self._errors):
            return confidence_of(counts)
        stored = (self._errors[place].int() & 0xFFFF) * known[:, None]  # the bits of uint16
        depth, color = (stored[:, i] * unit for i, unit in enumerate(ERROR_UNITS))
        return confidence_of(counts, torch.stack([depth, color], dim=1))

    def advance(
        self,
        origin: Float[Tensor, " 3"],
        directions: Float[Tensor, "N 3"],
        start: Float[Tensor, " N"],
        far: float,
        rays: Int[Tensor, " M"],
    ) -> None:
        """Move ``start`` of the listed rays, in place, to their next voxel in use; inf = none.

        See ``VoxelGrid.advance``. One kernel launch on a GPU with Triton; else all rays advance
        together in torch, voxel by voxel, and over a whole brick where none is stored.
        """
        if len(rays) == 0:
            return
        if start.is_cuda and find_spec("triton") is not None:
            self.launch(origin, directions, start, far, rays)
        else:
            self.walk(origin, directions, start, far, rays)

    def launch(
        self, origin: Tensor, directions: Tensor, start: Tensor, far: float, rays: Tensor
    ) -> None:
        from semantic_field.kernels.triton_walk import BLOCK, advance

        grid = (-(-len(rays) // BLOCK),)
        assert start.is_contiguous()
        with torch.cuda.device_of(start):
            advance[grid](
                origin.contiguous(), directions.contiguous(), start, rays, *self.arrays,
                len(rays), far, 1.0 / self.voxel_m,
                nudge=NUDGE, never=NEVER, block=BLOCK,  # pyright: ignore[reportArgumentType]
            )  # fmt: skip

    def walk(
        self, origin: Tensor, directions: Tensor, start: Tensor, far: float, rays: Tensor
    ) -> None:
        """Advance in torch. Positions are in voxels; ray parameters keep their meaning."""
        place, direction = origin / self.voxel_m, directions[rays] / self.voxel_m
        inverse = torch.where(direction != 0, 1.0 / direction, NEVER)
        nudge = NUDGE * inverse.abs().amin(1)
        corners = torch.stack([self.low, self.low + self.shape]) * BRICK
        walls = ((corners[:, None] - place) * inverse).sort(0).values  # (2, M, 3)
        enter, leave = walls[0].amax(1), walls[1].amin(1).clamp_max(far)
        t = torch.where(enter > start[rays], enter + nudge, start[rays])
        start[rays] = float("inf")
        going = t < leave
        while going.any():
            rays, t, leave = rays[going], t[going], leave[going]
            direction, inverse, nudge = direction[going], inverse[going], nudge[going]
            at = place + t[:, None] * direction
            cell = torch.floor(at).long()
            slot, known = self._slots(cell >> 3)
            used = known & (self._counts[_place(slot, cell)] > 0)
            start[rays[used]] = t[used]
            size = torch.where(known, 1, BRICK)[:, None]
            low = torch.div(cell, size, rounding_mode="floor") * size
            border = low + torch.where(inverse > 0, size, 0)
            t = t + ((border - at) * inverse).amin(1).clamp_min(0.0) + nudge
            going = ~used & (t < leave)

    def _places(self, points: Float[Tensor, "*N 3"]) -> tuple[Int[Tensor, "*N"], Tensor]:
        """Return the storage index of the voxel around each point, and whether it is stored."""
        cell = torch.floor(points * (1.0 / self.voxel_m)).long()
        slot, known = self._slots(cell >> 3)
        return _place(slot, cell), known

    def _slots(self, brick: Int[Tensor, "*N 3"]) -> tuple[Int[Tensor, "*N"], Bool[Tensor, "*N"]]:
        """Return the slot of each brick (0 if it is not stored), and whether it is stored."""
        at = brick - self.low
        inside = ((at >= 0) & (at < self.shape)).all(-1)
        flat = (at[..., 0] * self.shape[1] + at[..., 1]) * self.shape[2] + at[..., 2]
        slot = self._index[torch.where(inside, flat, 0)]
        known = inside & (slot >= 0)
        return torch.where(known, slot, 0).long(), known


def _place(slot: Int[Tensor, "*N"], cell: Int[Tensor, "*N 3"]) -> Int[Tensor, "*N"]:
    """Return the storage index of a voxel of a stored brick."""
    local = cell & 7
    voxel = local[..., 2] << 6 | local[..., 1] << 3 | local[..., 0]
    return slot * BRICK**3 + voxel


def _filled(room: Tensor, values: NDArray) -> Tensor:
    """Copy values to the beginning of ``room``; reallocates to twice their size if needed."""
    flat = torch.from_numpy(np.ascontiguousarray(values).reshape(-1))
    if len(flat) > len(room):
        room = torch.zeros(2 * len(flat), dtype=room.dtype, device=room.device)
    room[: len(flat)].copy_(flat)
    return room
