"""Completion of an object of a saved map, without nodes."""

from __future__ import annotations

from semantic_field.config import CompletionConfig, QueryConfig
from semantic_field.field.map_state import MapState
from semantic_field.mapping.keyframe_views import KeyframeViews
from semantic_field.object_prior.best_views import best_views
from semantic_field.object_prior.completer import Completer
from semantic_field.object_prior.completion import ObservedView
from semantic_field.object_prior.object_crops import SurroundedObject
from semantic_field.query.engine import QueryEngine
from semantic_field.query.map_objects import MapObject, gathered
from semantic_field.query.object_completion import CompletedObject, complete_object
from semantic_field.query.part_questions import part_question
from semantic_field.teachers.language import LanguageTeacher


def complete_saved(
    state: MapState,
    text: str,
    teacher: LanguageTeacher,
    completer: Completer,
    category: str = "",
    query: QueryConfig | None = None,
    settings: CompletionConfig | None = None,
) -> CompletedObject:
    """Find what a text describes in a map read from a file, and complete the best hit.

    Args:
        text: for a thing, or for a part of it: then the whole is completed.
        category: what it is; empty = what its label says.
    Raises:
        NoPriorError: if there is no prior for it.
        ValueError: if the thing is not in the map, or as ``QueryEngine.query``.
    """
    query, settings = query or QueryConfig(), settings or CompletionConfig()
    engine = QueryEngine(teacher, query)
    engine.set_map(state)
    part = part_question(text, completer.part_names)
    result = engine.query(text if part is None else part.whole)
    if not result.found:
        raise ValueError(f"expected a thing that is in the map, got another: {result.message}")
    thing = gathered(engine.object_of_hit(result.hits[0].id), query.voxel_m, query.up)
    views = stored_views(state, thing, settings)
    wanted = category or (part.category if part is not None else "")
    return complete_object(thing, completer, views, wanted, query.up)


def stored_views(
    state: MapState, thing: MapObject, settings: CompletionConfig
) -> tuple[ObservedView, ...]:
    """Return crops of the keyframes in a map read from a file; none if it has no keyframes."""
    keyframes = KeyframeViews.of(state) if settings.views else None
    if keyframes is None:
        return ()
    own, around = thing.own, thing.points.select(thing.around)
    known = SurroundedObject(own.xyz, around.xyz)
    return (
        keyframes.ask(
            lambda sources: best_views(
                known, own.normals, sources, settings.views, settings.view_pixels
            )
        )
        or ()
    )
