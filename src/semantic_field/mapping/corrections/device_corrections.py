"""What people have said about the map, on the device where rays are drawn."""

from __future__ import annotations

import numpy as np
import torch

from semantic_field.field.rays.rays import Rays
from semantic_field.field.voxels.device_voxels import DeviceVoxels
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.mapping.corrections.ray_overrides import Corrections
from semantic_field.mapping.keyframes.store import KeyframeStore


class DeviceCorrections:
    """A copy of the table of ``Corrections`` that follows it, for steps that never ask the host."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._corrections: Corrections | None = None
        self._table: VoxelGrid | None = None  # that was copied
        self._cells: DeviceVoxels | None = None
        self._silent = torch.zeros(0, dtype=torch.bool, device=device)

    def follow(self, corrections: Corrections, keyframes: KeyframeStore, room: int) -> None:
        """Take over what has changed; ``room`` is how many keyframes there may be."""
        table, self._corrections = corrections.table, corrections
        if table is not None and table is not self._table:
            if self._cells is None or self._cells.voxel_m != table.voxel_m:
                self._cells = DeviceVoxels(table.voxel_m, self._device)
            self._cells.load(table)
        self._table = table
        if table is not None:
            silent = np.zeros(room, np.bool_)
            silent[: keyframes.count] = ~corrections.has_labels(keyframes)
            if room != len(self._silent):
                self._silent = torch.zeros(room, dtype=torch.bool, device=self._device)
            self._silent.copy_(torch.from_numpy(silent))

    def apply(self, rays: Rays) -> None:
        """See ``Corrections.apply``."""
        assert self._corrections is not None
        found = silent = None
        if self._cells is not None and self._table is not None:
            found = self._cells.lookup(rays.ends()).long() & 0xFFFF  # the bits of uint16
            silent = self._silent[rays.slot]
        self._corrections.overrule(rays, found, silent)

    def signature(self) -> tuple:
        """What a captured ``apply`` relies on, besides its tensors' contents."""
        assert self._corrections is not None
        tensors = () if self._cells is None else (*self._cells.arrays, self._silent)
        addresses = tuple(tensor.data_ptr() for tensor in tensors)
        is_used, config = self._table is not None, self._corrections.config
        return is_used, addresses, self._corrections.none_row, id(config)
