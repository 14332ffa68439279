"""Hours in short: one room is seen, then another one again and again; memory and forgetting.

    python benchmarks/long_stream.py [--rounds 20] [--budget 900] [--steps 6]

Streams house/bedroom once and house/living ``--rounds`` times, with a fixed number of training
steps for each frame. The cameras of every round are others: a random window of each image, with
its principal point, so that frames are true and new. Resident memory is read after every round;
held-out views of the bedroom are scored before the first and after the last of them.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import write_results
from mapping import HELD_OUT_EVERY, evaluate
from rich.progress import track

from semantic_field.config import Config
from semantic_field.data.sources import FrameSource, open_source
from semantic_field.frames import Frame
from semantic_field.mapping import Mapper
from semantic_field.settings import updated

MARGIN = 40  # pixels by which the windows are smaller than the images
MEBIBYTE = 1 << 20
FOLDER = Path("../shared/data/house")


def window(frame: Frame, random: np.random.Generator) -> Frame:
    """A random window of a frame: what a camera with another principal point sees."""
    x, y = (int(v) for v in random.integers(0, MARGIN, 2))
    width, height = frame.camera.width - MARGIN, frame.camera.height - MARGIN
    part = np.s_[y : y + height, x : x + width]
    c = frame.camera
    return replace(
        frame,
        color=frame.color[part].copy(),
        depth=frame.depth[part].copy(),
        camera=replace(c, cx=c.cx - x, cy=c.cy - y, width=width, height=height),
        labels=None if frame.labels is None else frame.labels[part].copy(),
        instances=None,
    )


def stream(mapper: Mapper, source: FrameSource, steps: int, seed: int) -> None:
    """Every frame that is not held out, each followed by some steps."""
    random = np.random.default_rng(seed)
    for index in range(len(source)):
        if index % HELD_OUT_EVERY:
            mapper.add_frame(window(source[index], random))
            mapper.train_steps(steps)


def resident_mb() -> float:
    """Resident memory of this process, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MEBIBYTE


def score(mapper: Mapper, source: FrameSource) -> dict[str, float]:
    found = evaluate(mapper, source, HELD_OUT_EVERY, None).summary()
    return {name: round(float(found[name]), 3) for name in ("psnr_db", "depth_mean_cm", "miou")}


def run(rounds: int, budget_mb: int, steps: int, folder: Path) -> list[dict[str, Any]]:
    bedroom, living = (open_source(folder / name) for name in ("bedroom", "living"))
    settings = {
        "mapping.memory_budget_mb": budget_mb,
        "mapping.keyframe_translation_m": 0.0,  # every frame of every round is taken
        "mapping.keyframe_rotation_rad": 0.0,
    }
    mapper = Mapper(updated(Config(), settings))
    mapper.set_label_names({**living.label_names, **bedroom.label_names})
    stream(mapper, bedroom, steps, seed=0)
    entries = [_entry("bedroom seen once", mapper, score(mapper, bedroom))]
    for number in track(range(1, rounds + 1), description="rounds of the living room"):
        stream(mapper, living, steps, seed=number)
        entries.append(_entry(f"living, round {number}", mapper, {}))
    entries[-1] |= {f"bedroom {n}": v for n, v in score(mapper, bedroom).items()}
    entries[-1] |= {f"living {n}": v for n, v in score(mapper, living).items()}
    return entries


def _entry(name: str, mapper: Mapper, scores: dict[str, float]) -> dict[str, Any]:
    status = mapper.status()
    entry = {
        "name": name,
        "resident (MiB)": round(resident_mb()),
        "counted by the map (MiB)": round(status.memory_bytes / MEBIBYTE),
        "keyframes": status.keyframes,
        "steps": status.steps,
    }
    return entry | {f"bedroom {n}": v for n, v in scores.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--budget", type=int, default=Config().mapping.memory_budget_mb)
    parser.add_argument("--steps", type=int, default=6, help="training steps for each frame")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="with bedroom and living")
    options = parser.parse_args()
    torch.set_num_threads(1)
    entries = run(options.rounds, options.budget, options.steps, options.folder)
    for entry in entries:
        sys.stdout.write(f"{entry}\n")
    name = f"long stream, budget {options.budget} MiB, {options.steps} steps a frame"
    sys.stdout.write(f"results: {write_results(name, entries)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
