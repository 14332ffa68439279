"""OV-NeRF's ablation with the simulated teacher on rooms of the rendered house.

    python benchmarks/open_vocabulary.py
    python benchmarks/open_vocabulary.py --rooms ../shared/data/house/bedroom --steps 300

Base, +RSR, +CSE, both, with regions of the checkpoint-free proposer (the figures that count) and
with the true instances (an upper bound), and sweeps of T and N, as ``--protocol ov_ablation``.
Beside them the same map trained on given labels, for the overhead of language. Every finished
map is written at once; a run that was interrupted goes on where it stopped on the same day.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, finished_entries, write_results

from semantic_field.config import Config
from semantic_field.evaluation.ablation import AblationRun, ablation_table
from semantic_field.evaluation.protocols.protocol import Training, load_protocol
from semantic_field.mapping import Mapper
from semantic_field.mapping.warm_up import warm_up
from semantic_field.settings import updated

ROOMS = ("../shared/data/house/living", "../shared/data/house/bedroom")
FEATURES = "../shared/data/clip_text_features"
BENCHMARK = "open_vocabulary"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rooms", nargs="+", default=list(ROOMS))
    parser.add_argument(
        "--features", default=FEATURES, help="the simulated teacher's text features"
    )
    parser.add_argument("--steps", type=int, help="training steps of each map, not the protocol's")
    parser.add_argument("--only", nargs="*", default=[], help="cells by name; default: all")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    protocol = load_protocol("ov_ablation")
    if options.steps:
        protocol = dataclasses.replace(protocol, training=Training(steps=options.steps))
    config = updated(Config(), {"teacher.kind": "simulated", "teacher.path": options.features})
    warm_up(config)
    entries = finished_entries(BENCHMARK, options.results)
    for room in options.rooms:
        entries = run_room(room, protocol, config, options, entries)


def run_room(room: str, protocol, config: Config, options, entries: list[dict]) -> list[dict]:
    """All cells of one room that are not among the entries yet; prints its table."""
    done = {(e["room"], e["name"], e["protocol"]) for e in entries}
    run = AblationRun(room, protocol, config)
    head = {"room": run.source.name, "protocol": protocol.hash}
    for cell in protocol.ablation:
        wanted = not options.only or cell.name in options.only
        if wanted and (head["room"], cell.name, protocol.hash) not in done:
            result = run.score(cell)
            entries = [*entries, {"name": result.pop("name")} | head | result]
            write_results(BENCHMARK, entries, options.results)
    if not options.only and (head["room"], "labels", protocol.hash) not in done:
        entries = [*entries, {"name": "labels"} | head | label_run(run)]
        write_results(BENCHMARK, entries, options.results)
    mine = [e for e in entries if e["room"] == head["room"] and e["protocol"] == protocol.hash]
    for row in ablation_table([e for e in mine if "miou" in e]):
        print("  ".join(f"{text:>22}" for text in row), flush=True)
    print(f"teacher and regions: {run.teacher_s:.2f} CPU s a frame", flush=True)
    return entries


def label_run(run: AblationRun) -> dict[str, Any]:
    """Processor seconds of the same steps with given labels and their names' embeddings."""
    mapper = Mapper(Config(), run.teacher)
    names = run.source.label_names
    mapper.set_label_names({i: n for i, n in names.items() if n in run.vocabulary})
    for frame in run.labelled_frames():
        mapper.add_frame(frame)
    began = time.process_time()
    mapper.train_steps(run.protocol.training.steps)
    return {"training_cpu_s": round(time.process_time() - began, 1), "teacher": "labels"}


if __name__ == "__main__":
    main()
