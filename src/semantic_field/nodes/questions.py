"""Questions with everything that they are asked with, so that the last one can be asked again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from semantic_field.query.engine import QueryEngine, QueryResult
from semantic_field.srv import Query


@dataclass(frozen=True)
class Question:
    """A text and its options; empty and None mean the configured ones."""

    text: str
    negatives: tuple[str, ...] = ()
    threshold: float | None = None
    max_hits: int | None = None

    def ask(self, engine: QueryEngine) -> QueryResult:
        """The answer of the newest map; ValueError where it cannot be asked."""
        return engine.query(
            self.text,
            negatives=self.negatives,
            threshold=self.threshold,
            max_hits=self.max_hits,
        )


def question_of(request: Query.Request) -> Question:
    return Question(
        request.text,
        tuple(request.negatives),
        float(request.threshold) or None,
        int(request.max_hits) or None,
    )


class LastQuestion:
    """The question that the topics answer, also when the map has changed.

    Args:
        engine: answers it.
        publish: tells the answer; one at a time, and never that to an earlier question.
    """

    def __init__(self, engine: QueryEngine, publish: Callable[[QueryResult], None]) -> None:
        self._engine, self._publish = engine, publish
        self._question: Question | None = None
        self._lock = threading.Lock()

    def keep(self, question: Question) -> None:
        """To be answered by ``again``, when there is a map."""
        with self._lock:
            self._question = question

    def ask(self, question: Question) -> QueryResult:
        """The answer, also published; ValueError, and nothing else, where it cannot be asked."""
        result = question.ask(self._engine)
        with self._lock:
            self._question = question
            self._publish(result)
        return result

    def again(self) -> bool:
        """Answer the last question again; whether there was one, and no newer one came meanwhile.

        Raises:
            ValueError: where it cannot be asked; it is forgotten.
        """
        question = self._question
        if question is None:
            return False
        try:
            result = question.ask(self._engine)
        except ValueError:
            with self._lock:
                if self._question is question:
                    self._question = None
            raise
        with self._lock:
            if self._question is question:
                self._publish(result)
            return self._question is question
