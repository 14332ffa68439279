"""Chooses the grid kernels once, by device and by what can be imported."""

from __future__ import annotations

import torch

from semantic_field.kernels.interface import GridKernels, GridShape


def make_kernels(
    name: str, shape: GridShape, device: torch.device | str = "cpu", threads: int = 2
) -> GridKernels:
    """The kernels called ``name``: "reference", "cpu" (Numba), or "auto" for the fastest here.

    Raises:
        ValueError: where the named kernels do not run on the device.
    """
    from semantic_field.kernels.reference import ReferenceKernels

    on_cpu = torch.device(device).type == "cpu"
    if name == "reference" or (name == "auto" and not on_cpu):
        return ReferenceKernels(shape, threads)
    if name in ("auto", "cpu") and on_cpu:
        from semantic_field.kernels.cpu import CpuKernels

        return CpuKernels(shape, threads)
    raise ValueError(
        f"expected kernels that run on {device}, got {name!r}; set field.grid.kernels to 'auto'"
    )
