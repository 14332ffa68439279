"""Rays per second of a full training step, beside torch and beside what users would run instead.

    python benchmarks/training_step.py [--input ../shared/data/house/living] [--rounds 5]

All alternatives take turns in one process, on the same keyframes and two threads. "torch" is our
step with the grid kernels in plain torch; baselines.py has the two others.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from baselines import HashGridNerf, VanillaNerf
from common import interleave, write_results

from semantic_field.config import Config
from semantic_field.data.sources import FrameSource, open_source
from semantic_field.mapping import Mapper
from semantic_field.settings import updated

THREADS = 2
FINEST_CELL_M = 0.02  # 8 levels x 4 features x 2^19 entries
EVERY = 4  # keyframes: every fourth frame
BASELINE_RAYS, VANILLA_RAYS = 1024, 64
SIZES = {"1024 x 7": (1024, 4, 3), "2048 x 12": (2048, 5, 7)}


@dataclass(frozen=True)
class Alternative:
    """One way to train: what one turn does, and with how many rays."""

    turn: Callable[[], object]
    rays: int


def mapper_for(source: FrameSource, size: tuple[int, int, int], kernels: str) -> Mapper:
    """Our mapper on some frames of the recording, trained a little so that its table is in use."""
    rays, near, free = size
    values = {
        "field.grid.kernels": kernels,
        "field.grid.finest_cell_m": FINEST_CELL_M,
        "mapping.rays_per_step": rays,
        "mapping.near_samples": near,
        "mapping.free_samples": free,
        "mapping.threads": THREADS,
    }
    mapper = Mapper(updated(Config(), values))
    mapper.set_label_names(source.label_names)
    for index in range(0, len(source), EVERY):
        mapper.add_frame(source[index])
    mapper.train_steps(100 if kernels != "reference" else 1)
    return mapper


def ours(source: FrameSource, size: tuple[int, int, int], kernels: str, steps: int) -> Alternative:
    mapper = mapper_for(source, size, kernels)

    def turn() -> None:
        torch.set_num_threads(1 if kernels != "reference" else THREADS)
        mapper.train_steps(steps)

    return Alternative(turn, steps * size[0])


def baseline(source: FrameSource, vanilla: bool) -> Alternative:
    frame = source[0]
    torch.manual_seed(0)
    model = (
        VanillaNerf() if vanilla else HashGridNerf(torch.full((3,), -10.0), torch.full((3,), 10.0))
    )
    count = VANILLA_RAYS if vanilla else BASELINE_RAYS
    camera, pose = frame.camera, torch.tensor(frame.T_world_camera, dtype=torch.float32)

    def turn() -> None:
        torch.set_num_threads(THREADS)
        u = torch.randint(camera.width, (count,))
        v = torch.randint(camera.height, (count,))
        local = [(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, torch.ones(count)]
        directions = torch.stack(local, -1) @ pose[:3, :3].T
        target = torch.from_numpy(frame.color)[v, u].float() / 255
        model.step(pose[:3, 3].expand(count, 3), directions, target)

    return Alternative(turn, count)


def measure(source: FrameSource, rounds: int) -> list[dict[str, float | str]]:
    alternatives: dict[str, Alternative] = {}
    for name, size in SIZES.items():
        alternatives[f"ours {name}"] = ours(source, size, "auto", 20)
        alternatives[f"torch kernels {name}"] = ours(source, size, "reference", 1)
    alternatives["hash-grid NeRF in PyTorch, 64 samples"] = baseline(source, vanilla=False)
    alternatives["vanilla NeRF, 2 x 8 x 256"] = baseline(source, vanilla=True)
    timings = interleave({n: a.turn for n, a in alternatives.items()}, rounds, warm_up=1)
    speeds = {t.name: alternatives[t.name].rays / t.wall_s for t in timings}
    best = speeds["ours 2048 x 12"]
    entries: list[dict[str, float | str]] = []
    for timing in timings:
        rays = alternatives[timing.name].rays
        is_baseline = not timing.name.endswith(tuple(SIZES))
        ours_beside = best if is_baseline else speeds[timing.name.replace("torch kernels", "ours")]
        entries.append(
            {
                "name": timing.name,
                "rays/s": round(speeds[timing.name]),
                "rays per CPU-second": round(rays / timing.cpu_s),
                "our rays/s over these": round(ours_beside / speeds[timing.name], 1),
                "spread": round(timing.spread, 3),
            }
        )
    return entries


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", default="../shared/data/house/living")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    entries = measure(open_source(options.input), options.rounds)
    for entry in entries:
        sys.stdout.write(f"{entry}\n")
    sys.stdout.write(f"results: {write_results('training step', entries)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
