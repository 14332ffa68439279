"""Relevancy images of rendered views."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from semantic_field.config import QueryConfig
from semantic_field.field.map_state import MapState
from semantic_field.field.views.rendering import RenderedView
from semantic_field.query.interpretation import Interpreter
from semantic_field.query.latent_index import LatentIndex
from semantic_field.teachers.language import LanguageTeacher


class ViewQuery:
    """Computes relevancy images; the teacher's texts are embedded at the first query.

    Args:
        teacher: the teacher that the maps were built with; None if there is none.
        config: query settings.
    """

    def __init__(self, teacher: LanguageTeacher | None, config: QueryConfig | None = None) -> None:
        self._teacher, self._config = teacher, config or QueryConfig()

    @cached_property
    def _interpreter(self) -> Interpreter:
        if self._teacher is None:
            raise ValueError("expected a language teacher, got none: set teacher.kind")
        return Interpreter(self._teacher)

    def relevancy(self, view: RenderedView, state: MapState, text: str) -> NDArray[np.float32]:
        """Return the relevancy of each pixel to a text, float32 (H, W), 0..1; 0 without surface.

        Args:
            view: a view of ``state``, rendered with latents.
        Raises:
            ValueError: on an empty or unknown text, if the map or the view has no latents, or if
                there is no teacher.
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
