"""Answers to questions for parts: the whole is found and completed, and its part is the hit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from semantic_field.config import QueryConfig
from semantic_field.object_prior.completion import Completion, NoPriorError, PartBox
from semantic_field.query.engine import QueryEngine, QueryResult
from semantic_field.query.hits import Hit
from semantic_field.query.map_objects import MapObject
from semantic_field.query.part_questions import PartNames, PartQuestion, part_question

Complete = Callable[[MapObject, str], Completion]
"""Completes an object of the map as one of a category; poses and points are in the map's frame.
Raises ``NoPriorError`` if it is none."""
SAME_M = 1e-3


class PartEngine:
    """Answers texts like a query engine, and those that ask for a part by completing the whole.

    Only the best hit of a whole is completed, as that takes seconds.

    Args:
        engine: answers all other texts.
        part_names: by category, of the things that can be completed.
        complete: see ``Complete``.
    """

    def __init__(self, engine: QueryEngine, part_names: PartNames, complete: Complete) -> None:
        self._engine, self._part_names, self._complete = engine, part_names, complete

    @property
    def config(self) -> QueryConfig:
        return self._engine.config

    def asks_for_part(self, text: str) -> bool:
        """Return whether the answer to a text needs a completion."""
        return part_question(text, self._part_names) is not None

    def query(
        self,
        text: str,
        negatives: tuple[str, ...] = (),
        threshold: float | None = None,
        max_hits: int | None = None,
    ) -> QueryResult:
        """Answer one text; see ``QueryEngine.query``."""
        return self.query_all([text], negatives, threshold, max_hits)[0]

    def query_image(
        self,
        color: NDArray[np.uint8],
        negatives: tuple[str, ...] = (),
        threshold: float | None = None,
        max_hits: int | None = None,
    ) -> QueryResult:
        """Answer an image; see ``QueryEngine.query_image``."""
        return self._engine.query_image(color, negatives, threshold, max_hits)

    def query_all(
        self,
        texts: list[str],
        negatives: tuple[str, ...] = (),
        threshold: float | None = None,
        max_hits: int | None = None,
    ) -> list[QueryResult]:
        """Answer several texts; see ``QueryEngine.query_all``. Parts have boxes of their own."""
        asked = [part_question(text, self._part_names) for text in texts]
        wholes = [text if part is None else part.whole for text, part in zip(texts, asked)]
        results = self._engine.query_all(wholes, negatives, threshold, max_hits)
        return [
            result if part is None else self._part_of(text, part, result, max_hits)
            for text, part, result in zip(texts, asked, results, strict=True)
        ]

    def _part_of(
        self, text: str, asked: PartQuestion, whole: QueryResult, max_hits: int | None
    ) -> QueryResult:
        if not whole.found:
            return replace(whole, text=text, message=f"no {asked.part}: {whole.message}")
        best = whole.hits[0]
        try:
            thing = self._engine.object_of_hit(best.id)
            completion = self._complete(thing, asked.category)
        except NoPriorError as error:
            message = f"'{asked.whole}' is hit {best.id}, but it has no known parts: {error}"
            return _without(whole, text, message)
        most = self._engine.config.max_hits if max_hits is None else max_hits
        hits = part_hits(asked.part, best, whole, completion)[:most]
        if not hits:
            message = f"hit {best.id} ({best.label or asked.whole}) has no {asked.part}"
            return _without(whole, text, message)
        return replace(
            whole,
            text=text,
            best_score=hits[0].score,
            hits=tuple(hits),
            message=_message(text, asked, hits, whole),
        )


def _without(whole: QueryResult, text: str, message: str) -> QueryResult:
    return replace(whole, text=text, found=False, hits=(), best_score=0.0, message=message)


def part_hits(part: str, whole: Hit, result: QueryResult, completion: Completion) -> list[Hit]:
    """Return the hits of a part of a completed object, the best observed first.

    They keep the id of the whole. A hit's score is that of the whole times the confidence of the
    completion.
    """
    number = completion.part_names.index(part)
    own = completion.points[(completion.parts == number) & completion.observed]
    boxes = [box for box in completion.boxes if box.name == part]
    boxes = sorted(boxes, key=lambda box: (-box.observed, -box.point_count))
    return [_part_hit(box, whole, result, own, completion.confidence) for box in boxes]


def _part_hit(
    box: PartBox, whole: Hit, result: QueryResult, own: NDArray[np.float64], confidence: float
) -> Hit:
    return Hit(
        id=whole.id,
        label=box.name,
        score=whole.score * confidence,
        T_world_object=box.T_world_part,
        size=box.size,
        point_count=box.point_count,
        indices=_shared(whole, result, own[_inside(own, box)]),
        part=box.name,
        predicted=1.0 - box.observed,
    )


def _inside(points: NDArray[np.float64], box: PartBox) -> NDArray[np.bool_]:
    local = (points - box.T_world_part[:3, 3]) @ box.T_world_part[:3, :3]
    return np.asarray((np.abs(local) <= 0.5 * box.size + SAME_M).all(1), bool)


def _shared(whole: Hit, result: QueryResult, points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the indices of those surface points of the whole that are among the points (N, 3)."""
    if not len(points) or not len(whole.indices):
        return np.zeros(0, np.int64)
    world = result.points.xyz[whole.indices] + result.points.origin
    distance, _ = KDTree(points).query(world)
    return whole.indices[np.asarray(distance) <= SAME_M]


def _message(text: str, asked: PartQuestion, hits: list[Hit], whole: QueryResult) -> str:
    first = hits[0]
    x, y, z = first.centre
    count = "1 hit" if len(hits) == 1 else f"{len(hits)} hits"
    others = f", the best of {len(whole.hits)}" if len(whole.hits) > 1 else ""
    return (
        f"{count} for '{text}': {seen_or_not(first.predicted)} {asked.part} of hit {first.id}"
        f"{others}, {first.score:.2f} at ({x:.2f}, {y:.2f}, {z:.2f}) m in {whole.state.frame_id}"
    )


def seen_or_not(predicted: float) -> str:
    """Return in words how much of a part was observed."""
    if predicted >= 0.95:
        return "predicted"
    return "observed" if predicted <= 0.05 else f"{100 * (1 - predicted):.0f} % observed"
