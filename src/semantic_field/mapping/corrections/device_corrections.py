"""A copy of the annotations on the device on which rays are drawn."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from semantic_field.field.rays.rays import Rays
from semantic_field.field.voxels.device_voxels import DeviceVoxels
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.mapping.corrections.ray_overrides import Corrections
from semantic_field.mapping.keyframes.store import KeyframeStore


class DeviceCorrections:
    """A copy of the table of ``Corrections`` on a device, for steps that do not use the host."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._corrections: Corrections | None = None
        self._table: VoxelGrid | None = None  # the table that was copied
        self._cells: DeviceVoxels | None = None
        self._silent = torch.zeros(0, dtype=torch.bool, device=device)

    def follow(self, corrections: Corrections, keyframes: KeyframeStore, room: int) -> None:
        """Upload changes.

        Args:
            corrections: the annotations to copy.
            keyframes: the keyframes, of which the ones with label images are marked.
            room: largest number of keyframes.
        """
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

    def apply(self, rays: Rays, doubts: Int[Tensor, "K P"] | None = None) -> None:
        """Override labels and label weights of rays in annotated cells, in place, on the device.

        Args:
            doubts: see ``KeyframeStore``.
        """
        assert self._corrections is not None
        found = silent = None
        if self._cells is not None and self._table is not None:
            found = self._cells.lookup(rays.ends()).long() & 0xFFFF  # the bits of uint16
            silent = self._silent[rays.slot]
        sure = None if doubts is None else 1.0 - doubts[rays.slot, rays.pixel].float() / 255.0
        self._corrections.overrule(rays, found, silent, sure)

    def signature(self) -> tuple:
        """Return everything a captured ``apply`` depends on, except the contents of tensors."""
        assert self._corrections is not None
        tensors = () if self._cells is None else (*self._cells.arrays, self._silent)
        addresses = tuple(tensor.data_ptr() for tensor in tensors)
        is_used, config = self._table is not None, self._corrections.config
        return is_used, addresses, self._corrections.none_row, id(config)
