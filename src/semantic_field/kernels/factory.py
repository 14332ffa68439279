"""Factory of the grid kernels: selects an implementation by device and installed packages."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from semantic_field.kernels.interface import GridKernels, GridShape


def make_kernels(
    name: str, shape: GridShape, device: torch.device | str = "cpu", threads: int = 2
) -> GridKernels:
    """Return the grid kernels called ``name``, which run on ``device``.

    Names are "reference" (torch), "cpu" (Numba), "cuda" (Triton), "tcnn" and "auto". "auto"
    selects the fastest for the device: "cpu" on a CPU, "cuda" on a GPU if Triton is installed,
    else "reference". "tcnn" is tiny-cuda-nn on a GPU, and on the CPU an implementation in plain
    torch for reading maps.

    Raises:
        ValueError: if the named kernels do not run on the device, a package that they need is
            missing, or torch cannot use the GPU.
    """
    from semantic_field.kernels.reference import ReferenceKernels

    kind = torch.device(device).type
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"expected a GPU that torch can use, got none for the device {device}; install the "
            "CUDA build of torch and the NVIDIA driver, or choose the device 'cpu'"
        )
    if name == "auto":
        name = _fastest(kind)
    if name == "reference":
        return ReferenceKernels(shape, threads)
    if name == "cpu" and kind == "cpu":
        from semantic_field.kernels.cpu import CpuKernels

        return CpuKernels(shape, threads)
    if name == "cuda" and kind == "cuda":
        return _cuda(shape, device, threads)
    if name == "tcnn":
        from semantic_field.kernels.tcnn import TcnnKernels, TcnnReader

        gpu = kind == "cuda"
        return TcnnKernels(shape, threads, device) if gpu else TcnnReader(shape, threads)
    raise ValueError(
        f"expected kernels that run on {device}, got {name!r}; set field.grid.kernels to 'auto'"
    )


def make_reader(
    name: str, shape: GridShape, device: torch.device | str = "cpu", threads: int = 2
) -> GridKernels:
    """Return kernels for ``device`` that can read tables trained with the kernels ``name``.

    Raises:
        ValueError: as ``make_kernels``.
    """
    return make_kernels("tcnn" if name == "tcnn" else "auto", shape, device, threads)


def _fastest(kind: str) -> str:
    if kind == "cuda" and find_spec("triton") is not None:
        return "cuda"
    return "cpu" if kind == "cpu" else "reference"


def _cuda(shape: GridShape, device: torch.device | str, threads: int) -> GridKernels:
    if find_spec("triton") is None:
        raise ValueError(
            "expected Triton for the kernels 'cuda', got none that can be imported; install it "
            "(pip install triton: CUDA builds of torch for Linux bring it along), or set "
            "field.grid.kernels to 'auto'"
        )
    from semantic_field.kernels.cuda import CudaKernels

    return CudaKernels(shape, threads, device)
