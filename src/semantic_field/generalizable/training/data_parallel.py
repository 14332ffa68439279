"""Training by several processes, each with a share of every batch: ``torchrun`` and torch's DDP."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

CPU = torch.device("cpu")
PATIENCE = timedelta(hours=2)  # one process may prepare scenes while the others wait


@dataclass(frozen=True)
class Workers:
    """The processes of a training, seen from one of them.

    Attributes:
        rank: number of this process.
        world: number of processes.
        local_rank, local_world: the same among the processes of this machine.
        device: on which this process computes.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    device: torch.device = CPU

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def wrapped(self, module: nn.Module) -> nn.Module:
        """Return a module whose gradients are averaged over all processes.

        Parameters that a step does not use are allowed: which ones it uses may differ.
        """
        if self.world == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=devices, find_unused_parameters=True)

    def share_of(self, batch: int) -> range:
        """Return which episodes of a batch this process takes.

        Raises:
            ValueError: if the batch cannot be divided evenly.
        """
        if batch % self.world:
            raise ValueError(
                f"expected training.batch to be a multiple of the {self.world} processes, got "
                f"{batch}; type --batch {self.world * max(1, round(batch / self.world))}"
            )
        each = batch // self.world
        return range(self.rank * each, (self.rank + 1) * each)

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.world > 1:
            dist.barrier()


ALONE = Workers()
"""A process without others, on the CPU."""


@contextmanager
def joined(device: str = "auto") -> Iterator[Workers]:
    """Context manager that joins the processes that ``torchrun`` started; alone without it.

    Args:
        device: ``cpu``, ``cuda`` or ``auto`` (a GPU if there is one). Processes on GPUs talk by
            NCCL and take the GPU of their local rank, others talk by Gloo.
    Raises:
        ValueError: if ``cuda`` is wanted and there is no GPU for this process.
    """
    rank, world = _number("RANK", 0), _number("WORLD_SIZE", 1)
    local_rank, local_world = _number("LOCAL_RANK", 0), _number("LOCAL_WORLD_SIZE", 1)
    chosen = _device(device, local_rank)
    if world == 1:
        yield Workers(device=chosen)
        return
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield Workers(rank, world, local_rank, local_world, chosen)
    finally:
        dist.destroy_process_group()


def _number(variable: str, default: int) -> int:
    """Return what ``torchrun`` told this process."""
    return int(os.environ.get(variable, default))


def _device(wanted: str, local_rank: int) -> torch.device:
    if wanted not in ("auto", "cpu", "cuda"):
        raise ValueError(f"expected the device auto, cpu or cuda, got {wanted!r}")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "cpu" or (wanted == "auto" and not found):
        return torch.device("cpu")
    if local_rank >= found:
        raise ValueError(
            f"expected a GPU for local process {local_rank}, found {found}; start at most {found} "
            "processes (torchrun --nproc-per-node), or give --device cpu"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)
