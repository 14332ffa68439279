"""Asks a map questions and holds the answers against the true objects."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from semantic_field.evaluation.scores.box_fit import aligned_box, box_iou, inside_box
from semantic_field.evaluation.scores.calibration import calibration
from semantic_field.evaluation.scores.cost import latency
from semantic_field.evaluation.truth.known_answers import QUESTIONS, Question, judge
from semantic_field.evaluation.truth.true_objects import ReferenceObject
from semantic_field.query.axes import ground_axes
from semantic_field.query.engine import QueryEngine, QueryResult

# Asked where no label of the recording has such a name: none of them may be found.
ABSENT = (
    "bicycle",
    "toilet",
    "piano",
    "umbrella",
    "car",
    "dog",
    "guitar",
    "bathtub",
    "aeroplane",
    "washing machine",
    "christmas tree",
    "surfboard",
)
# A door or a rug is thinner than depth readings are exact.
BOX_MARGIN_M = 0.05
AROUND_M = 0.1
CANDIDATES = 1000  # points, the most relevant ones, among which the best is looked for
NOT_OBJECTS = frozenset({"wall", "floor", "ceiling", "background", "other"})


@dataclass(frozen=True)
class Answer:
    """One question and how right its answer is.

    Attributes:
        expected: whether the recording holds an object that answers it.
        error_m: from the best hit's centre to the nearest fitting object, metres.
        localised: whether the point around which the map is most relevant (a mean over 10 cm:
            LangSplat smooths its images, too) lies in the box of a fitting object, or within 5 cm.
        box_iou: of the best hit's box and the fitting object's that it covers best.
        seconds: until the answer.
    """

    text: str
    expected: bool
    found: bool
    right: bool
    best_score: float
    error_m: float | None
    localised: bool | None
    box_iou: float | None
    hits: int
    seconds: float


def questions_for(objects: list[ReferenceObject], label_names: dict[int, str]) -> list[Question]:
    """Everyday questions, the objects by their names, and things that are not there.

    A question that only an ``also_fair`` object would answer is left out.
    """
    present = {item.name for item in objects}
    asked = [q for q in QUESTIONS if q.answers & present or not q.also_fair & present]
    texts = {q.text for q in asked}
    names = sorted(present - NOT_OBJECTS - texts)
    asked += [Question(name, frozenset({name})) for name in names]
    known = {name.strip().lower() for name in label_names.values()}
    return asked + [
        Question(t, frozenset({t})) for t in ABSENT if t not in known and t not in texts
    ]


def score_queries(
    engine: QueryEngine, objects: list[ReferenceObject], label_names: dict[int, str]
) -> dict[str, Any]:
    """Ask all fitting questions; figures, the reliability of ``found``, and every answer."""
    questions = questions_for(objects, label_names)
    engine.query(questions[0].text)  # compiled code and caches are not the question's latency
    answers = [answer(engine, question, objects) for question in questions]
    there = np.array([a.expected for a in answers])
    scores = np.clip([a.best_score for a in answers], 0.0, 1.0)
    expected = [a for a in answers if a.expected]
    localised = [a.localised for a in expected if a.localised is not None]
    overlaps = [a.box_iou or 0.0 for a in expected]
    said = sum(a.found for a in answers)
    return {
        "asked": len(answers),
        "expected": len(expected),
        "right": float(np.mean([a.right for a in answers])),
        "localisation_accuracy": float(np.mean(localised)) if localised else None,
        "box_iou": float(np.mean(overlaps)) if overlaps else None,
        "found_precision": sum(a.found and a.expected for a in answers) / said if said else None,
        "found_recall": float(np.mean([a.found for a in expected])) if expected else None,
        "calibration": asdict(calibration(scores, there)),
        "answers": [asdict(a) for a in answers],
    }


def take_latency(result: dict[str, Any]) -> dict[str, Any]:
    """Latency of the answers of ``score_queries``; their seconds are taken out of it.

    Quality must come out the same in every run of one seed, and times do not.
    """
    return latency([item.pop("seconds") for item in result["answers"]])


def answer(engine: QueryEngine, question: Question, objects: list[ReferenceObject]) -> Answer:
    """One question's answer, judged."""
    began = time.perf_counter()
    result = engine.query(question.text)
    seconds = time.perf_counter() - began
    centres = [hit.centre.tolist() for hit in result.hits]
    judgement = judge(question, result.found, centres, objects)
    fair = [o for o in objects if o.name in question.answers | question.also_fair]
    has_hit = bool(result.hits and fair)
    return Answer(
        text=question.text,
        expected=judgement.expected,
        found=result.found,
        right=judgement.right,
        best_score=float(result.best_score),
        error_m=judgement.errors_m[0] if has_hit else None,
        localised=_localised(result, fair) if judgement.expected else None,
        box_iou=_best_iou(result, fair, engine.config.up) if has_hit else None,
        hits=len(result.hits),
        seconds=seconds,
    )


def _localised(result: QueryResult, fair: list[ReferenceObject]) -> bool:
    if not len(result.relevancy):
        return False
    xyz, relevancy = result.points.xyz.astype(np.float64), result.relevancy
    most = np.argsort(-relevancy, kind="stable")[:CANDIDATES]
    tree = KDTree(xyz, balanced_tree=False, compact_nodes=False)  # built in a third of the time
    around = [relevancy[near].mean() for near in tree.query_ball_point(xyz[most], AROUND_M)]
    best = xyz[most[int(np.argmax(around))]]
    boxes = [aligned_box(item.low - BOX_MARGIN_M, item.high + BOX_MARGIN_M) for item in fair]
    return any(inside_box(best, *box) for box in boxes)


def _best_iou(result: QueryResult, fair: list[ReferenceObject], up: str) -> float:
    """IoU of the best hit's box with the fitting object that it covers best."""
    hit, upright = result.hits[0], np.eye(4)
    upright[:3, :3] = ground_axes(up)
    overlaps = []
    for item in fair:
        corners = np.stack([item.low, item.high]) @ upright[:3, :3].T
        true_box = aligned_box(corners.min(axis=0), corners.max(axis=0))
        overlaps.append(box_iou(upright @ hit.T_world_object, hit.size, *true_box))
    return max(overlaps)
