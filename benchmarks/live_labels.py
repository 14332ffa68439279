"""Redkitchen from colour and depth alone: labels made live by a real network, and the answers.

    python benchmarks/live_labels.py [--steps 400] [--every 4] [--network FOLDER]

Two maps of the same frames and steps: one is given the recording's label images, the other only
colour, depth and poses, and labels its keyframes itself. The label images were made by the same
network (``SOURCE.txt``), so that both should agree.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import write_results

from semantic_field.config import Config
from semantic_field.data.sources import FrameSource, open_source
from semantic_field.mapping.mapper import Mapper
from semantic_field.query.engine import QueryEngine, QueryResult
from semantic_field.settings import updated
from semantic_field.teachers import make_language_teacher
from semantic_field.teachers.image_teachers import make_image_teachers
from semantic_field.teachers.naming import spoken

DATA = Path(
    os.environ.get("SEMANTIC_FIELD_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)
QUESTIONS = ("chair", "dining table", "somewhere to sit", "tv monitor", "bathtub")


def mapped(source: FrameSource, chosen: range, steps: int, network: str) -> tuple[Mapper, dict]:
    """A map of some frames; with a network their label images are left out."""
    config = updated(Config(), {"query.up": "-y", "teacher.segmenter": network})
    teacher = make_language_teacher(config.teacher)
    mapper = Mapper(config, teacher, image_teachers=make_image_teachers(config, teacher))
    if not network:
        mapper.set_label_names(source.label_names)
    began = time.process_time()
    for i in chosen:
        frame = source[i]
        mapper.add_frame(replace(frame, labels=None) if network else frame)
    loading = time.process_time() - began
    mapper.train_steps(steps)
    return mapper, {"taking frames in (CPU s)": loading}


def agreement(mapper: Mapper, source: FrameSource, chosen: range) -> tuple[float, float]:
    """Share of the keyframes' pixels with the recording's label: of all, of what is a thing."""
    store, live_map = mapper.live_map.keyframes, mapper.live_map
    assert store is not None
    row_of = {spoken(name): row for row, name in enumerate(live_map.classes.row_names())}
    by_stamp = {source.stamps[i]: i for i in chosen}
    equal = counted = things = right = 0
    for slot in range(store.count):
        truth = source[by_stamp[int(store.stamps_ns[slot])]].labels
        assert truth is not None
        table = np.full(max(source.label_names) + 2, -9)
        for class_id, name in source.label_names.items():
            table[class_id] = row_of.get(spoken(name), -9)
        expected, found = table[truth].reshape(-1), store.images.labels[slot, : truth.size]
        shown = found != -2
        thing = shown & (expected != row_of.get("background", -9))
        equal, counted = equal + (expected == found)[shown].sum(), counted + shown.sum()
        right, things = right + (expected == found)[thing].sum(), things + thing.sum()
    return equal / counted, right / max(things, 1)


def answers(mapper: Mapper) -> list[QueryResult]:
    assert mapper.teacher is not None
    engine = QueryEngine(mapper.teacher, mapper.config.query)  # type: ignore[arg-type]
    engine.set_map(mapper.snapshot())
    return engine.query_all(list(QUESTIONS))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--every", type=int, default=4, help="every n-th frame is mapped")
    parser.add_argument("--network", default=str(DATA / "deeplab_pascal"))
    arguments = parser.parse_args()
    if not DATA.is_dir():
        sys.stderr.write(f"skipped: no recordings in {DATA}; set SEMANTIC_FIELD_DATA\n")
        return 0
    source = open_source(DATA / "redkitchen")
    chosen = range(0, len(source), arguments.every)
    entries: list[dict[str, Any]] = []
    found = {}
    for name, network in (("label images", ""), ("labels made live", arguments.network)):
        mapper, cost = mapped(source, chosen, arguments.steps, network)
        share, of_things = agreement(mapper, source, chosen)
        results = answers(mapper)
        found[name] = results
        row: dict[str, Any] = {"name": name, "keyframes": mapper.status().keyframes}
        row |= {"pixels as in labels_deeplab (%)": round(100 * share, 2)}
        row |= {"of those not background (%)": round(100 * of_things, 2)}
        row |= {text: round(seconds, 1) for text, seconds in cost.items()}
        for result in results:
            best = result.hits[0] if result.hits else None
            label = f"{best.label} {best.score:.2f}" if best else f"no ({result.best_score:.2f})"
            row[result.text] = f"{len(result.hits)} hits, {label}" if best else label
        entries.append(row)
        for text, value in row.items():
            sys.stdout.write(f"{text}: {value}\n")
    for first, second in zip(*found.values(), strict=True):
        if first.hits and second.hits:
            apart = np.linalg.norm(first.hits[0].centre - second.hits[0].centre)
            sys.stdout.write(f"{first.text}: best hits {apart:.3f} m apart\n")
            entries[-1][f"{first.text}, best hits apart (m)"] = round(float(apart), 3)
    path = write_results("labels made live", entries)
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
