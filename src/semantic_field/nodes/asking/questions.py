"""Questions together with their options, so that the last one can be asked again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from semantic_field.nodes.ros import conversions
from semantic_field.query.engine import QueryResult
from semantic_field.query.part_answers import PartEngine
from semantic_field.srv import Query, QueryTexts


class Options(NamedTuple):
    """Options of the query engine; empty and None mean the configured value."""

    negatives: tuple[str, ...] = ()
    threshold: float | None = None
    max_hits: int | None = None


AS_CONFIGURED = Options()


@dataclass(frozen=True, eq=False)
class Question:
    """A text, or an RGB image (H, W, 3) instead, and the query options."""

    text: str
    image: NDArray[np.uint8] | None = None
    options: Options = AS_CONFIGURED

    def ask(self, engine: PartEngine) -> QueryResult:
        """Return the answer from the newest map; raises ValueError if it cannot be asked."""
        options = self.options._asdict()
        if self.image is not None:
            return engine.query_image(self.image, **options)
        return engine.query(self.text, **options)


def question_of(request: Query.Request) -> Question:
    """Convert a service request to a question.

    Raises:
        ValueError: on neither or both of text and image, or if the image is not in colour.
    """
    text, image = request.text, request.image
    shows = _is_given(image)
    if bool(text.strip()) == shows:
        raise ValueError(
            "expected a text with words in it or an image of what is looked for, got "
            f"{'both' if shows else 'neither'}: give exactly one of them"
        )
    return Question(text, conversions.rgb_image(image) if shows else None, _options(request))


def _is_given(image: Image) -> bool:
    return bool(image.width or image.height or len(image.data))


def _options(request: Query.Request | QueryTexts.Request) -> Options:
    return Options(
        tuple(request.negatives), float(request.threshold) or None, int(request.max_hits) or None
    )


def ask_texts(engine: PartEngine, request: QueryTexts.Request) -> list[QueryResult]:
    """Return one answer per text, all from one map; raises ValueError if no text or no map."""
    if not request.texts:
        raise ValueError("expected texts to look for, got none")
    return engine.query_all(list(request.texts), **_options(request)._asdict())


class LastQuestion:
    """The last question; it is answered again on the topics when the map changes.

    A question for a part of a thing is answered once: completions take seconds of the processor.

    Args:
        engine: answers the question.
        publish: called with the answer, under a lock; never for an outdated question.
    """

    def __init__(self, engine: PartEngine, publish: Callable[[QueryResult], None]) -> None:
        self._engine, self._publish = engine, publish
        self._question: Question | None = None
        self._waits = False  # the question came before the first map
        self._lock = threading.Lock()

    def keep(self, question: Question) -> None:
        """Store a question, to be answered by ``again`` once there is a map."""
        with self._lock:
            self._question, self._waits = question, True

    def ask(self, question: Question) -> QueryResult:
        """Return and publish the answer; raises ValueError (publishing nothing) if it cannot."""
        result = question.ask(self._engine)
        with self._lock:
            self._question, self._waits = question, False
            self._publish(result)
        return result

    def again(self) -> bool:
        """Answer and publish the last question again.

        Returns False if there is none, if it is not answered again, or if a newer one came
        meanwhile.

        Raises:
            ValueError: if it cannot be asked; it is forgotten.
        """
        question = self._question
        if question is None or not (self._waits or self._is_quick(question)):
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
                self._waits = False
                self._publish(result)
            return self._question is question

    def _is_quick(self, question: Question) -> bool:
        return question.image is not None or not self._engine.asks_for_part(question.text)
