"""The grid kernels beside the plain torch reference, interleaved in one process.

    python benchmarks/kernels.py [--rays 2048] [--samples 11] [--device cuda]

On the CPU: milliseconds of processor time divided by the threads, so the ratio to the reference
holds on a busy machine, too. On a GPU: milliseconds between two events on the device, the kernels
replayed from a CUDA graph; also with a float16 table and float16 gradients ("cuda half").
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec

import torch
from torch import Tensor

from semantic_field.config import GridConfig
from semantic_field.field.model import shape_of
from semantic_field.kernels import GridGradient, GridKernels, GridMoments, GridShape, make_kernels

THREADS = 2


def coherent_points(rays: int, samples: int) -> Tensor:
    """Points along rays from one place of a room, as training has them (N, 3)."""
    torch.manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(rays, 1, 3), dim=-1)
    along = (4 * torch.rand(rays, samples, 1)).sort(1).values
    return (0.5 * torch.rand(rays, 1, 3) + directions * along).reshape(-1, 3).contiguous()


class Case:
    """One implementation with its own table and moments; ``half``: the table and its gradient."""

    def __init__(
        self, kernels: GridKernels, shape: GridShape, points: Tensor, half: bool = False
    ) -> None:
        self.kernels, self.points, device = kernels, points, points.device
        self.master = torch.randn(shape.table_shape, device=device)
        self.table = self.master.half() if half else self.master
        self.grad = torch.randn(shape.encoding_dim, len(points), device=device)
        dtype, scale = (torch.float16, 16.0) if half else (torch.float32, 1.0)
        self.gradient = GridGradient(shape, device, dtype, scale)
        self.moments = GridMoments(shape, device)
        self._more = {"working": self.table} if half else {}

    def operations(self) -> dict[str, Callable[[], object]]:
        k = self.kernels
        return {
            "encode": lambda: k.encode(self.points, self.table),
            "backward, table + Adam": self._train,
            "backward, points": lambda: k.backward_points(self.points, self.table, self.grad),
        }

    def _train(self) -> None:
        self.kernels.backward_table(self.points, self.grad, self.gradient)
        self.kernels.adam_step(self.master, self.gradient, self.moments, 1, 1e-2, **self._more)


def on_cpu(operation: Callable[[], object], repeats: int) -> float:
    begin = time.process_time()
    for _ in range(repeats):
        operation()
    return (time.process_time() - begin) / repeats / THREADS * 1e3


def replayed(operation: Callable[[], object]) -> Callable[[], object]:
    """The operation as a CUDA graph: what it launches, without what launching costs the host."""
    operation()  # compiles
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        operation()
    return graph.replay


def on_gpu(operation: Callable[[], object], repeats: int) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(20 * repeats):
        operation()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / repeats / 20


def make_cases(device: str, shape: GridShape, points: Tensor) -> dict[str, Case]:
    """The reference first."""
    if device == "cpu":
        names = {"reference": False, "cpu": False}
    else:
        names = {"reference": False, "cuda": False, "cuda half": True}
        if find_spec("tinycudann") is not None:  # its own lattices, as near to ours as it can
            names["tcnn"] = False
            shape = replace(shape, extent_m=GridConfig().tcnn_extent_m)
    return {
        n: Case(make_kernels(n.split()[0], shape, device), shape, points, half)
        for n, half in names.items()
    }


def compare(cases: dict[str, Case], name: str, rounds: int, clock: Callable) -> str:
    """The best of some rounds for each case, and how many times the reference's speed that is."""
    best = dict.fromkeys(cases, float("inf"))
    operations = {label: case.operations()[name] for label, case in cases.items()}
    if clock is on_gpu:
        operations |= {n: replayed(o) for n, o in operations.items() if n.startswith("cuda")}
    for _ in range(rounds):
        for label, operation in operations.items():
            took = clock(operation, 1 if label == "reference" else 5)
            best[label] = min(best[label], took)
    columns = [f"{name:24} reference {best['reference']:8.3f} ms"]
    for label in list(cases)[1:]:
        columns.append(f"{label} {best[label]:7.3f} ms {best['reference'] / best[label]:5.1f}x")
    return "   ".join(columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rays", type=int, default=2048)
    parser.add_argument("--samples", type=int, default=11)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    shape = shape_of(GridConfig())
    points = coherent_points(options.rays, options.samples).to(options.device)
    cases = make_cases(options.device, shape, points)
    print(f"{len(points)} points, {shape.levels} levels x {shape.features} features")
    clock = on_cpu if options.device == "cpu" else on_gpu
    for name in cases["reference"].operations():
        print(compare(cases, name, options.rounds, clock))


if __name__ == "__main__":
    main()
