"""The appearances of a map, each scored under its name on the same views."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from semantic_field.evaluation.protocols.protocol import Protocol
from semantic_field.evaluation.scores.held_out_views import HeldOutFrames, quality_of_views
from semantic_field.evaluation.scores.scoring import render
from semantic_field.mapping import Mapper
from semantic_field.mapping.renderer import Renderer

Progress = Callable[[str, float], None]


def named_renderers(mapper: Mapper) -> dict[str, Renderer]:
    """Return renderers of the current map by appearance, the configured one first."""
    renderer, appearance = mapper.renderer(), mapper.config.mapping.appearance
    return {appearance: renderer} | {"field": renderer.field_only()}


def score_appearances(
    renderers: dict[str, Renderer],
    held: HeldOutFrames,
    names: dict[int, str],
    protocol: Protocol,
    progress: Progress = lambda text, share: None,
) -> dict[str, dict[str, Any]]:
    """Return ``views``, ``geometry``, ``semantics`` and ``confidence`` of each appearance.

    They are as in a report's ``quality``, of the held-out views.

    Args:
        names: class ids and names of the recording.
    """
    told = partial(progress, "appearances")
    return {
        name: quality_of_views(partial(render, renderer), held, names, protocol, told)
        for name, renderer in renderers.items()
    }
