"""The grid kernels beside the plain torch reference, interleaved in one process.

    python benchmarks/kernels.py [--rays 2048] [--samples 11]

Prints milliseconds of processor time divided by the threads, and the ratio to the reference:
the ratio holds on a busy machine, too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

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
    """One implementation with its own table and moments."""

    def __init__(self, kernels: GridKernels, shape: GridShape, points: Tensor) -> None:
        self.kernels, self.points = kernels, points
        self.table = torch.randn(shape.table_shape)
        self.grad = torch.randn(shape.encoding_dim, len(points))
        self.gradient, self.moments = GridGradient(shape), GridMoments(shape)

    def operations(self) -> dict[str, Callable[[], object]]:
        k = self.kernels
        return {
            "encode": lambda: k.encode(self.points, self.table),
            "backward, table + Adam": self._train,
            "backward, points": lambda: k.backward_points(self.points, self.table, self.grad),
        }

    def _train(self) -> None:
        self.kernels.backward_table(self.points, self.grad, self.gradient)
        self.kernels.adam_step(self.table, self.gradient, self.moments, 1, 1e-2)


def milliseconds(operation: Callable[[], object], repeats: int) -> float:
    begin = time.process_time()
    for _ in range(repeats):
        operation()
    return (time.process_time() - begin) / repeats / THREADS * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rays", type=int, default=2048)
    parser.add_argument("--samples", type=int, default=11)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    shape = shape_of(GridConfig())
    points = coherent_points(options.rays, options.samples)
    cases = {n: Case(make_kernels(n, shape), shape, points) for n in ("reference", "cpu")}
    print(f"{len(points)} points, {shape.levels} levels x {shape.features} features")
    for name in cases["cpu"].operations():
        best = dict.fromkeys(cases, float("inf"))
        for _ in range(options.rounds):
            for label, case in cases.items():
                took = milliseconds(case.operations()[name], 1 if label == "reference" else 5)
                best[label] = min(best[label], took)
        ratio = best["reference"] / best["cpu"]
        both = f"reference {best['reference']:8.2f} ms   cpu {best['cpu']:6.2f} ms"
        print(f"{name:24} {both}   {ratio:5.1f}x")


if __name__ == "__main__":
    main()
