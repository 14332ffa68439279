"""Labels of held-out views when the mapper was given only some: the field beside its baselines.

    python benchmarks/sparse_labels.py [--only living/ten_frames click] [--extras] [--seconds 180]

One entry for each room and task (``config/protocols/labels_*.yaml``), written as soon as it is
finished; with ``--only`` today's other entries stay. The core takes about 40 minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from common import RESULTS, write_results

from semantic_field.config import Config
from semantic_field.data.sources import open_source
from semantic_field.evaluation.baselines.label_tasks import label_figures, score_label_task
from semantic_field.evaluation.mapping_run import MappingJob
from semantic_field.evaluation.protocols.protocol import Protocol, load_protocol
from semantic_field.evaluation.protocols.supervision import SupervisedFrames
from semantic_field.evaluation.report import provenance
from semantic_field.evaluation.scores.class_set import ClassSet
from semantic_field.evaluation.scores.held_out_views import HeldOutFrames
from semantic_field.mapping import Mapper
from semantic_field.mapping.warm_up import warm_up
from semantic_field.settings import updated

DATA = Path(
    os.environ.get(
        "SEMANTIC_FIELD_DATA", Path(__file__).resolve().parents[1].parent / "shared" / "data"
    )
)
NAME = "labels from few labels"
ROOMS = ("house/living", "house/bedroom")
CORE = ("all", "ten_frames", "click", "noise50", "sr8_sparse")
EXTRAS = (
    "ten_frames_coverage", "sparse", "noise90", "region_sort", "region_even", "sr8_dense",
    "sr16_sparse", "sr16_dense", "click1", "click5", "click10",
)  # fmt: skip
TARGETS = {"all": 0.85, "ten_frames": 0.80, "click": 0.70, "sr8_sparse": 0.78}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="entries whose name contains one")
    parser.add_argument("--extras", action="store_true", help="the other tasks as well")
    parser.add_argument("--seconds", type=float, help="training of each run, instead of 180")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings")
    parser.add_argument("--dry", action="store_true", help="print, write no results")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        print(f"nothing to do: no recordings in {DATA} (SEMANTIC_FIELD_DATA names the folder)")
        return 1
    tasks = CORE + (EXTRAS if arguments.extras or arguments.only else ())
    names = [f"{room}/{task}" for room in ROOMS for task in tasks]
    if arguments.only:
        names = [n for n in names if any(n.endswith(part) or part == n for part in arguments.only)]
    pairs = (item.partition("=") for item in arguments.set)
    config = updated(Config(), {name: json.loads(value) for name, _, value in pairs})
    warm_up(config)
    began = time.monotonic()
    for number, name in enumerate(names, 1):
        room, task = name.rsplit("/", 1)
        print(f"[{number}/{len(names)}, {time.monotonic() - began:.0f} s] {name}", flush=True)
        entry = {"name": name} | run(room, _protocol(task, arguments.seconds), config)
        if task in TARGETS:
            entry["target"] = TARGETS[task]
        print(json.dumps(entry), flush=True)
        if not arguments.dry:
            write_results(NAME, _merged(entry))
    return 0


def _protocol(task: str, seconds: float | None) -> Protocol:
    protocol = load_protocol(f"labels_{task}")
    if seconds is None:
        return protocol
    training = dataclasses.replace(protocol.training, seconds=seconds)
    return dataclasses.replace(protocol, training=training)


def run(room: str, protocol: Protocol, config: Config) -> dict[str, Any]:
    """Train on what the task leaves of the labels, score held-out views and the baselines."""
    source = open_source(DATA / room)
    split = protocol.make_split(len(source))
    frames = SupervisedFrames(source, split, protocol.supervision)
    held = HeldOutFrames(source, split.test, protocol.views.width)
    with tempfile.TemporaryDirectory() as folder:
        job = MappingJob(
            Mapper(config), frames, protocol.training, Path(folder), progress=_Progress()
        )
        done = job.run()
    classes = ClassSet(source.label_names, protocol.classes.ignore)
    own, zeros = label_figures(done.state, held, protocol, classes)
    task = score_label_task(done.state, source, frames, held, protocol, config, _Progress())
    return _entry(own, task or {}, done.status.steps, zeros, protocol.training.seconds)


class _Progress:
    """Says every half minute what is being done."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, text: str, share: float) -> None:
        if time.monotonic() - self._said > 30:
            self._said = time.monotonic()
            print(f"    {text} {100 * share:.0f} %", flush=True)


def _entry(
    own: dict[str, Any], task: dict[str, Any], steps: int, zeros: list[str], seconds: float
) -> dict[str, Any]:
    entry = {
        "mIoU": round(own["miou"], 3),
        "mIoU, classes above 0.1 %": round(own["miou_frequent"], 3),
        "accuracy": round(own["total_accuracy"], 4),
    }
    if mapped := task.get("mapped_views"):
        entry["mIoU, mapped views"] = round(mapped["miou"], 3)
    for name, figures in task.get("baselines", {}).items():
        entry[f"mIoU, {name}"] = round(figures["miou"], 3)
        if name == "projection":
            entry["pixels without a vote (%)"] = round(100 * figures["holes"], 2)
            inside = figures["map_accuracy_in_holes"]
            entry["accuracy of the map there"] = None if inside is None else round(inside, 3)
    entry |= {"training (s)": seconds, "training steps": steps}
    return entry | {"classes below 0.05": ", ".join(zeros)}


def _merged(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Today's finished entries with a new one in its place."""
    path = RESULTS / f"{date.today().isoformat()}-{provenance.machine_name()}.json"
    content = json.loads(path.read_text()) if path.exists() else {}
    entries = content.get("benchmarks", {}).get(NAME, {}).get("entries", [])
    return sorted([e for e in entries if e["name"] != entry["name"]] + [entry], key=_place)


def _place(entry: dict[str, Any]) -> tuple[int, int]:
    room, task = entry["name"].rsplit("/", 1)
    return ROOMS.index(room), (CORE + EXTRAS).index(task)


if __name__ == "__main__":
    sys.exit(main())
