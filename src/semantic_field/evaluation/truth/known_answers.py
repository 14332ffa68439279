"""Questions with known answers, and how far a query's hits are from what is really there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semantic_field.evaluation.truth.true_objects import ReferenceObject

TOLERANCE_M = 0.5


@dataclass(frozen=True)
class Question:
    """A text and the names of the objects that answer it.

    ``also_fair`` names objects that are no mistake where they come as an answer, but that the
    question does not ask for: where only these are there, it is not asked.
    """

    text: str
    answers: frozenset[str]
    also_fair: frozenset[str] = frozenset()


def _question(text: str, *answers: str, also_fair: tuple[str, ...] = ()) -> Question:
    return Question(text, frozenset(answers), frozenset(also_fair))


SEATS = ("chair", "sofa", "armchair", "stool", "bench", "ottoman")
QUESTIONS = (
    _question("somewhere to sit", *SEATS, also_fair=("bed",)),
    _question("keep food cold", "refrigerator", "fridge"),
    _question("chair", "chair", "armchair", also_fair=("stool", "sofa", "bench")),
    _question("dining table", "dining table", "diningtable", also_fair=("table", "desk")),
    _question("watch a film", "television", "tv", "tvmonitor"),
    _question("a place to sleep", "bed", also_fair=("sofa",)),
    _question("couch", "sofa"),
    _question("wash my clothes", "washing machine"),
    _question("books to read", "bookshelf", "books", "book", also_fair=("shelf",)),
)


@dataclass(frozen=True)
class Judgement:
    """One question, what was answered and whether that is right.

    Attributes:
        expected: whether the recording holds an object that answers it.
        errors_m: for each hit, metres from its centre to the centre of the nearest object that
            answers the question; of an object only partly seen, to its box.
    """

    text: str
    expected: bool
    found: bool
    errors_m: tuple[float, ...]
    nearest: tuple[str, ...]
    tolerance_m: float = TOLERANCE_M

    @property
    def right(self) -> bool:
        """Found exactly where something is, and the best hit within the tolerance."""
        if not self.expected:
            return not self.found
        return self.found and self.errors_m[0] <= self.tolerance_m


def fitting_questions(reference: list[ReferenceObject], count: int = 3) -> list[Question]:
    """The first ``count`` questions that the recording can answer, then one that it cannot."""
    names = {item.name for item in reference}
    present = [q for q in QUESTIONS if q.answers & names][:count]
    absent = [q for q in QUESTIONS if not (q.answers | q.also_fair) & names]
    # An absent bed is asked for as a place to sleep: near to a chair, yet none.
    absent.sort(key=lambda q: q.text != "a place to sleep")
    return present + absent[:1]


def judge(
    question: Question,
    found: bool,
    centres: list[list[float]],
    reference: list[ReferenceObject],
) -> Judgement:
    """Hold hits (centres in the world frame, metres, best first) against the reference."""
    fair = [r for r in reference if r.name in question.answers | question.also_fair]
    errors, nearest = [], []
    for centre in centres:
        distances = [_distance(item, np.asarray(centre)) for item in fair]
        best = int(np.argmin(distances)) if fair else -1
        errors.append(distances[best] if fair else float("inf"))
        nearest.append(fair[best].name if fair else "")
    expected = any(r.name in question.answers for r in reference)
    return Judgement(question.text, expected, found, tuple(errors), tuple(nearest))


def _distance(item: ReferenceObject, centre: np.ndarray) -> float:
    to_centre = float(np.linalg.norm(item.centre - centre))
    return to_centre if item.complete else item.distance(centre)
