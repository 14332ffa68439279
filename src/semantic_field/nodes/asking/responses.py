"""Fills service responses from query results."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from semantic_field.field.map_state import MapState
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.msg import Answer
from semantic_field.nodes.asking.answers import cloud_of, hit_message, message_of
from semantic_field.nodes.map.local_frame import cloud_header, header_of, to_vector
from semantic_field.nodes.ros import conversions
from semantic_field.query.colors import label_colors
from semantic_field.query.engine import QueryResult
from semantic_field.srv import Query, QueryTexts, Segment

EMPTY = "the map is empty: it was reset, or mapping has just begun"


def fill_query(response: Query.Response, result: QueryResult, with_cloud: bool) -> Query.Response:
    """Fill a Query response; ``success`` means that the map is not empty, not that hits exist."""
    _fill(response, result.state, result.points, message_of(result))
    response.found, response.best_score = result.found, float(result.best_score)
    response.hits = [hit_message(hit) for hit in result.hits]
    response.origin = to_vector(result.state.origin)
    if with_cloud:
        header = cloud_header(result.state)
        response.relevancy = cloud_of(header, result.points, result.relevancy)
    return response


def fill_texts(response: QueryTexts.Response, results: list[QueryResult]) -> QueryTexts.Response:
    """Fill a QueryTexts response from one or more results, all of the same map."""
    found = sum(result.found for result in results)
    text = f"{found} of {len(results)} texts are in the map"
    _fill(response, results[0].state, results[0].points, text)
    response.answers = [_answer(result) for result in results]
    return response


def _answer(result: QueryResult) -> Answer:
    return Answer(
        text=result.text,
        found=result.found,
        best_score=float(result.best_score),
        message=message_of(result),
        hits=[hit_message(hit) for hit in result.hits],
    )


def fill_segments(
    response: Segment.Response,
    names: list[str],
    state: MapState,
    points: SurfacePoints,
    which: NDArray[np.int64],
    with_cloud: bool,
) -> Segment.Response:
    """Fill a Segment response; ``which`` (N,) indexes ``names``, points with -1 are left out."""
    named = which >= 0
    text = f"{named.sum()} of {len(named)} points are one of {len(names)} names"
    _fill(response, state, points, text)
    points, which = points.select(named), which[named]
    response.counts = np.bincount(which, minlength=len(names)).tolist()
    response.origin = to_vector(state.origin)
    if not with_cloud:
        return response
    response.segments = conversions.cloud_message(
        cloud_header(state),
        points.xyz,
        label_colors(np.arange(len(names)))[which],
        points.confidence,
        which,
        points.normals,
    )
    return response


def _fill(response: Any, state: MapState, points: SurfacePoints, message: str) -> None:
    response.success = len(points) > 0
    response.message = message if response.success else EMPTY
    response.header, response.snapshot_version = header_of(state), state.version
