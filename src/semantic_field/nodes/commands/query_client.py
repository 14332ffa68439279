"""Client of the query node: service calls, and their responses as plain types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Header

from semantic_field.nodes.ros import conversions
from semantic_field.nodes.ros.client import Client
from semantic_field.srv import CompleteObject, Query, QueryTexts, Segment


def ask(client: Client, text: str, timeout_s: float = 30.0, **options: Any) -> Query.Response:
    """Query one text; raises TimeoutError if no query node responds.

    Options, here and below: ``negatives``, ``threshold``, ``max_hits`` and, for one text or
    image, ``with_cloud``; see the service definition.
    """
    return client.call(Query, "query", Query.Request(text=text, **options), timeout_s)


def ask_image(
    client: Client, color: NDArray[np.uint8], timeout_s: float = 30.0, **options: Any
) -> Query.Response:
    """Query by an RGB image crop (H, W, 3)."""
    image = conversions.image_message(color, "rgb8", Header())
    return client.call(Query, "query", Query.Request(image=image, **options), timeout_s)


def ask_texts(
    client: Client, texts: Sequence[str], timeout_s: float = 30.0, **options: Any
) -> QueryTexts.Response:
    """Query several texts at once."""
    request = QueryTexts.Request(texts=list(texts), **options)
    return client.call(QueryTexts, "query_texts", request, timeout_s)


def segment(
    client: Client, names: Sequence[str], timeout_s: float = 30.0, with_cloud: bool = False
) -> Segment.Response:
    """Assign one of the names to each point of the map."""
    request = Segment.Request(names=list(names), with_cloud=with_cloud)
    return client.call(Segment, "segment", request, timeout_s)


def complete(
    client: Client, hit_id: int, category: str = "", timeout_s: float = 60.0
) -> CompleteObject.Response:
    """Complete a hit to a whole object; an empty category means what its label says."""
    request = CompleteObject.Request(id=hit_id, category=category)
    return client.call(CompleteObject, "complete_object", request, timeout_s)


def to_dict(asked: str, response: Query.Response) -> dict:
    """Return a response without its cloud as plain types: metres, in the map frame."""
    return {
        "text": asked,
        "success": response.success,
        **_answer(response),
        "frame_id": response.header.frame_id,
        "hits": _hits(response.hits),
    }


def texts_to_dict(response: QueryTexts.Response) -> dict:
    """Return the responses to several texts as plain types, like ``to_dict``."""
    return {
        "success": response.success,
        "message": response.message,
        "frame_id": response.header.frame_id,
        "answers": [
            {"text": answer.text, **_answer(answer), "hits": _hits(answer.hits)}
            for answer in response.answers
        ],
    }


def segments_to_dict(names: Sequence[str], response: Segment.Response) -> dict:
    """Return the number of surface points of each name."""
    return {
        "success": response.success,
        "message": response.message,
        "frame_id": response.header.frame_id,
        "segments": [
            {"name": name, "point_count": int(count)}
            for name, count in zip(names, response.counts, strict=response.success)
        ],
    }


def _answer(message: Any) -> dict:
    return {
        "found": message.found,
        "best_score": round(float(message.best_score), 3),
        "message": message.message,
    }


def _hits(messages: Sequence[Any]) -> list[dict]:
    return [
        {
            "id": int(hit.id),
            "label": hit.label,
            "score": round(float(hit.score), 3),
            "position": _rounded(hit.pose.position, "xyz"),
            "orientation": _rounded(hit.pose.orientation, "xyzw"),
            "size": _rounded(hit.size, "xyz"),
            "point_count": int(hit.point_count),
        }
        | ({"predicted": round(float(hit.predicted), 2)} if hit.part else {})
        for hit in messages
    ]


def _rounded(value, names: str) -> list[float]:
    return [round(float(getattr(value, name)), 3) for name in names]
