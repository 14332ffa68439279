"""Relevancy of rendered views to texts."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from semantic_field.config import QueryConfig
from semantic_field.field.map_state import MapState
from semantic_field.field.views.rendering import RenderedView
from semantic_field.query.interpretation import Interpreter
from semantic_field.query.relevancy import LatentIndex
from semantic_field.teachers.language import LanguageTeacher


class ViewQuery:
    """Asks rendered views; what the teacher needs is loaded with the first question.

    Args:
        teacher: the one that the maps are made with; None where there is none.
        config: settings of queries.
    """

    def __init__(self, teacher: LanguageTeacher | None, config: QueryConfig | None = None) -> None:
        self._teacher, self._config = teacher, config or QueryConfig()

    @cached_property
    def _interpreter(self) -> Interpreter:
        if self._teacher is None:
            raise ValueError("expected a language teacher, got none: set teacher.kind")
        return Interpreter(self._teacher)

    def relevancy(self, view: RenderedView, state: MapState, text: str) -> NDArray[np.float32]:
        """Relevancy (H, W), 0..1, of each pixel; 0 where the view shows nothing.

        Raises:
            ValueError: on an empty text, a map or a view without language, no teacher.
        """
        if not text.strip() or state.language is None or view.latent is None:
            raise ValueError("expected a text, and a map and a view with language latents")
        names = list(state.label_names.values())
        question = self._interpreter.question(text, (), self._config.negatives, names)
        assert self._teacher is not None
        classes = self._interpreter.embed_classes(names)
        seen = view.depth > 0
        index = LatentIndex(view.latent[seen], state.language, self._teacher.calibration, classes)
        image = np.zeros(view.depth.shape, np.float32)
        image[seen] = index.relevancy([question])[0].numpy()
        return image
