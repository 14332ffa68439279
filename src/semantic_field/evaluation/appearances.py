"""The appearances of a map, each scored under its name on the same views."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from semantic_field.evaluation.protocols.protocol import Protocol
from semantic_field.evaluation.scores.held_out_views import HeldOutFrames, ViewScores
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
    scores = {name: ViewScores(names, protocol) for name in renderers}
    for number, position in enumerate(held.positions):
        frame = held[number]
        for name, renderer in renderers.items():
            began = time.perf_counter()
            view = renderer.render(frame.camera, frame.T_world_camera)
            scores[name].add(position, frame, view, time.perf_counter() - began)
        progress("appearances", (number + 1) / len(held))
    results = {name: item.result() for name, item in scores.items()}
    kept = ("views", "semantics", "confidence")
    return {
        name: {key: result[key] for key in kept} | {"geometry": result["depth"]}
        for name, result in results.items()
    }
