"""How right and how fast text queries are.

    python benchmarks/query.py [--data ../shared/data] [--points 1000000]

Rightness: the label names of three recordings, each as points of a map with noisy latents, and
the questions of ``query_cases``. A question is answered rightly where what scores highest is a
right answer, or where nothing is there and nothing is found. Speed: relevancy of many points to a
text, with four negatives that are those of the question before or other ones, in a map of names and
in one learnt from images; there also of a text that no name means.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import write_results
from query_cases import CASES, KITCHEN_LABELS, REPORT_CASES, SCENES, SECOND_CASES

from semantic_field.config import QueryConfig, TeacherConfig
from semantic_field.mapping.language.basis import LanguageBasis
from semantic_field.query.interpretation import Interpreter
from semantic_field.query.latent_index import LatentIndex
from semantic_field.teachers import LanguageTeacher, make_language_teacher

THRESHOLD = QueryConfig().threshold
NEGATIVES = QueryConfig().negatives
Entry = dict[str, Any]


def scene_labels(data: Path) -> dict[str, list[str]]:
    def names(file: str) -> list[str]:
        classes = json.loads((data / file).read_text())["classes"]
        return [c["name"] for c in classes if c["name"] != "void"]

    labels = (names("house/living/labels.json"), names("bookstore/floor/labels.json"))
    return dict(zip(SCENES, (*labels, list(KITCHEN_LABELS)), strict=True))


def noisy_index(
    interpreter: Interpreter, teacher: LanguageTeacher, names: list[str], noise: float
) -> LatentIndex:
    """One point a label, its latent off by ``noise`` of its length in a random direction."""
    basis = LanguageBasis(teacher, 64)
    latent = basis.latents_of(names)
    offset = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
    latent = latent + noise * latent.norm(dim=1, keepdim=True) * torch.nn.functional.normalize(
        offset, dim=1
    )
    classes = interpreter.embed_classes(names)
    return LatentIndex(latent.numpy(), basis.space(), teacher.calibration, classes)


def measure(
    cases: tuple, scenes: dict[str, list[str]], interpreter: Interpreter, teacher, noise: float
) -> np.ndarray:
    """Rows of (there, found, right, score), one for each case and scene that counts."""
    rows = []
    for column, (scene, names) in enumerate(scenes.items(), start=1):
        index = noisy_index(interpreter, teacher, names, noise)
        for case in cases:
            truth = case[column]
            if truth is None:
                continue
            question = interpreter.question(case[0], (), NEGATIVES, names)
            score = index.relevancy([question])[0].numpy()
            best = int(score.argmax())
            found = score[best] >= THRESHOLD
            right = names[best] in truth if found else not truth
            rows.append((bool(truth), found, right, score[best]))
            if not right and noise == 0 and cases is REPORT_CASES:
                answer = f"{names[best]} {score[best]:.2f}" if found else "not found"
                print(f"    wrong: {scene}, {case[0]!r}: {answer}; right: {truth or 'not there'}")
    return np.array(rows, float)


def rightness(name: str, rows: np.ndarray) -> Entry:
    there, found, right = (rows[:, k] > 0 for k in range(3))
    entry = {
        "name": name,
        "questions": len(rows),
        "precision": round(float((found & right).sum() / found.sum()), 3),
        "recall": round(float((found & right).sum() / there.sum()), 3),
        "absent_rejected": round(float((~there & ~found).sum() / (~there).sum()), 3),
    }
    print("  " + "  ".join(f"{key} {value}" for key, value in entry.items()))
    return entry


def report_calibration(rows: np.ndarray) -> None:
    print("  score       questions   share with a right answer there")
    for low in np.arange(0.0, 1.0, 0.2):
        inside = (rows[:, 3] >= low) & (rows[:, 3] < low + 0.2 + 1e-9)
        there, found, right = (rows[inside, k] > 0 for k in range(3))
        correct = np.where(found, right, there)
        share = f"{correct.mean():.2f}" if len(correct) else "-"
        print(f"  {low:.1f} - {low + 0.2:.1f}   {inside.sum():6d}      {share}")


def time_points(
    count: int, interpreter: Interpreter, teacher, names: list[str], negatives=NEGATIVES
) -> list[Entry]:
    """Wall and processor time of questions over ``count`` points.

    Of a teacher that sees images the points have latents of their own, and of others its names'.
    """
    basis = LanguageBasis(teacher, 64)
    latents, rng = basis.latents_of(names), np.random.default_rng(0)
    latent = latents.numpy()[rng.integers(0, len(names), count)].astype(np.float16)
    if teacher.calibration.relative:
        noise = torch.randn(256, teacher.dim, generator=torch.Generator().manual_seed(0))
        basis.include_dense(noise, 64)
        latent[:, : basis.rank] += rng.normal(0, 0.1, (count, basis.rank)).astype(np.float16)
    start = time.perf_counter()
    classes = interpreter.embed_classes(names)
    index = LatentIndex(latent, basis.space(0.05), teacher.calibration, classes)
    name = f"{teacher.name}, {count} points x {basis.rank}, {len(names)} names"
    entries = [{"name": f"{name}: index", "wall_ms": round(1e3 * (time.perf_counter() - start))}]
    texts = ["couch", "somewhere to sit", "fridge", "lamp", "bed", "door", "rug", "book"]
    texts = [text for text in texts if teacher.knows(text)]
    asked = [
        ("1 text, the usual negatives", texts[:1], lambda turn: negatives),
        ("1 text, other negatives", texts[:1], lambda turn: (*negatives[1:], names[turn])),
        ("1 text that no name means", ["guitar"], lambda turn: negatives),
        (f"{len(texts)} texts", texts, lambda turn: negatives),
    ]
    for what, wanted, beaten in asked:
        walls, processors = [], []
        for turn in range(-1, 7):  # the first is not counted
            wall, processor = time.perf_counter(), time.process_time()
            questions = [interpreter.question(t, beaten(turn), negatives, names) for t in wanted]
            index.relevancy(questions)
            walls.append(time.perf_counter() - wall)
            processors.append(time.process_time() - processor)
        wall, processor = (round(1e3 * float(np.median(t[1:]))) for t in (walls, processors))
        entries.append({"name": f"{name}: {what}", "wall_ms": wall, "processor_ms": processor})
    for entry in entries:
        print("  " + "  ".join(f"{key} {value}" for key, value in entry.items()))
    return entries


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = os.environ.get("SEMANTIC_FIELD_DATA", Path(__file__).parents[2] / "shared/data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    start = time.perf_counter()
    teacher = make_language_teacher(TeacherConfig())
    assert teacher is not None
    interpreter = Interpreter(teacher)
    print(f"teacher and {len(teacher.things)} things ready: {time.perf_counter() - start:.2f} s")
    scenes = scene_labels(arguments.data)
    entries: list[Entry] = []
    for name, cases in (
        ("tuned on", CASES),
        ("second list", SECOND_CASES),
        ("report list", REPORT_CASES),
    ):
        for noise in (0.0, 0.3):
            rows = measure(cases, scenes, interpreter, teacher, noise)
            entries.append(rightness(f"{name}, {len(cases)} texts, noise {noise:.1f}", rows))
    report_calibration(measure(REPORT_CASES, scenes, interpreter, teacher, 0.1))
    entries += time_points(arguments.points, interpreter, teacher, scenes["house"])
    features = str(arguments.data / "clip_text_features")
    seeing = make_language_teacher(TeacherConfig(kind="simulated", path=features))
    assert seeing is not None
    names = [name for name in scenes["house"] if seeing.knows(name)]
    entries += time_points(arguments.points, Interpreter(seeing), seeing, names, tuple(names[:4]))
    print(f"written to {write_results('query', entries)}")


if __name__ == "__main__":
    main()
