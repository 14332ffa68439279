"""Asking the running query node: service calls, and their answers in plain types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Header

from semantic_field.nodes.ros import conversions
from semantic_field.nodes.ros.client import Client
from semantic_field.srv import Query, QueryTexts, Segment


def ask(client: Client, text: str, timeout_s: float = 30.0, **options: Any) -> Query.Response:
    """The query service's answer; TimeoutError where no query node answers.

    Options, here and below, are ``negatives``, ``threshold`` and ``max_hits``, and ``with_cloud``
    of one text or image; see the service.
    """
    return client.call(Query, "query", Query.Request(text=text, **options), timeout_s)


def ask_image(
    client: Client, color: NDArray[np.uint8], timeout_s: float = 30.0, **options: Any
) -> Query.Response:
    """The answer to an RGB crop (H, W, 3) of what is looked for."""
    image = conversions.image_message(color, "rgb8", Header())
    return client.call(Query, "query", Query.Request(image=image, **options), timeout_s)


def ask_texts(
    client: Client, texts: Sequence[str], timeout_s: float = 30.0, **options: Any
) -> QueryTexts.Response:
    """The answers to several texts."""
    request = QueryTexts.Request(texts=list(texts), **options)
    return client.call(QueryTexts, "query_texts", request, timeout_s)


def segment(
    client: Client, names: Sequence[str], timeout_s: float = 30.0, with_cloud: bool = False
) -> Segment.Response:
    """Which of the names each point of the map is."""
    request = Segment.Request(names=list(names), with_cloud=with_cloud)
    return client.call(Segment, "segment", request, timeout_s)


def to_dict(asked: str, response: Query.Response) -> dict:
    """The answer without its cloud, in plain types: metres, in the frame of the map."""
    return {
        "text": asked,
        "success": response.success,
        **_answer(response),
        "frame_id": response.header.frame_id,
        "hits": _hits(response.hits),
    }


def texts_to_dict(response: QueryTexts.Response) -> dict:
    """``to_dict`` of several texts."""
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
    """How many surface points each of the names has."""
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
        for hit in messages
    ]


def _rounded(value, names: str) -> list[float]:
    return [round(float(getattr(value, name)), 3) for name in names]
