"""Answers as responses of services, and errors as responses that say why there is none."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semantic_field.field.map_state import MapState
from semantic_field.field.surface_points import SurfacePoints
from semantic_field.msg import Answer
from semantic_field.nodes import conversions
from semantic_field.nodes.answers import cloud_of, hit_message
from semantic_field.nodes.world import cloud_header, header_of, to_vector
from semantic_field.query.colors import label_colors
from semantic_field.query.engine import QueryResult
from semantic_field.srv import Query, QueryTexts, Segment


def or_why_not(handler: Callable[..., Any]) -> Callable[..., Any]:
    """A service's method that answers ``success: false`` and the text of a ValueError."""

    @functools.wraps(handler)
    def handle(self, request, response):
        try:
            return handler(self, request, response)
        except ValueError as error:
            response.success, response.message = False, str(error)
            return response

    return handle


def fill_query(response: Query.Response, result: QueryResult) -> Query.Response:
    """Success whenever the question could be asked of a map."""
    _fill(response, result.state, result.message)
    response.found, response.best_score = result.found, float(result.best_score)
    response.hits = [hit_message(hit) for hit in result.hits]
    response.relevancy = cloud_of(cloud_header(result.state), result.points, result.relevancy)
    response.origin = to_vector(result.state.origin)
    return response


def fill_texts(response: QueryTexts.Response, results: list[QueryResult]) -> QueryTexts.Response:
    """The answers to one text or more, all of one map."""
    found = sum(result.found for result in results)
    _fill(response, results[0].state, f"{found} of {len(results)} texts are in the map")
    response.answers = [_answer(result) for result in results]
    return response


def _answer(result: QueryResult) -> Answer:
    return Answer(
        text=result.text,
        found=result.found,
        best_score=float(result.best_score),
        message=result.message,
        hits=[hit_message(hit) for hit in result.hits],
    )


def fill_segments(
    response: Segment.Response,
    names: list[str],
    state: MapState,
    points: SurfacePoints,
    which: NDArray[np.int64],
) -> Segment.Response:
    """The points whose name ``which`` (N,) tells; -1 = none of them, which are left out."""
    named = which >= 0
    points, which = points.select(named), which[named]
    _fill(response, state, f"{len(which)} of {len(named)} points are one of {len(names)} names")
    response.counts = np.bincount(which, minlength=len(names)).tolist()
    response.origin = to_vector(state.origin)
    response.segments = conversions.cloud_message(
        cloud_header(state),
        points.xyz,
        label_colors(np.arange(len(names)))[which],
        points.confidence,
        which,
        points.normals,
    )
    return response


def _fill(response: Any, state: MapState, message: str) -> None:
    response.success, response.message = True, message
    response.header, response.snapshot_version = header_of(state), state.version
