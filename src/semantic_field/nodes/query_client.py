"""``semantic-field query "text"``: ask the running query node."""

from __future__ import annotations

from rich.table import Table

from semantic_field.nodes.client import Client
from semantic_field.srv import Query


def ask(
    client: Client,
    text: str,
    negatives: tuple[str, ...] = (),
    threshold: float = 0.0,
    max_hits: int = 0,
    timeout_s: float = 30.0,
) -> Query.Response:
    """The query service's answer; TimeoutError where no query node answers."""
    request = Query.Request(
        text=text, negatives=list(negatives), threshold=threshold, max_hits=max_hits
    )
    return client.call(Query, "query", request, timeout_s)


def to_dict(text: str, response: Query.Response) -> dict:
    """The answer without its cloud, in plain types: metres, in the frame of the map."""
    return {
        "text": text,
        "success": response.success,
        "found": response.found,
        "best_score": round(float(response.best_score), 3),
        "message": response.message,
        "frame_id": response.header.frame_id,
        "hits": [
            {
                "id": int(hit.id),
                "label": hit.label,
                "score": round(float(hit.score), 3),
                "position": _rounded(hit.pose.position, "xyz"),
                "orientation": _rounded(hit.pose.orientation, "xyzw"),
                "size": _rounded(hit.size, "xyz"),
                "point_count": int(hit.point_count),
            }
            for hit in response.hits
        ],
    }


def _rounded(value, names: str) -> list[float]:
    return [round(float(getattr(value, name)), 3) for name in names]


def table(answer: dict) -> Table:
    """The hits of ``to_dict`` as a table for the terminal."""
    view = Table(title=f"“{answer['text']}”: {answer['message']}", title_justify="left")
    for column in ("id", "label", "score", "position (m)", "size (m)", "points"):
        view.add_column(column, justify="left" if column == "label" else "right")
    for hit in answer["hits"]:
        view.add_row(
            str(hit["id"]),
            hit["label"],
            f"{hit['score']:.2f}",
            "  ".join(f"{v:.2f}" for v in hit["position"]),
            " x ".join(f"{v:.2f}" for v in hit["size"]),
            str(hit["point_count"]),
        )
    return view
