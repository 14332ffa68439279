"""``semantic-field query``: texts, an image or names in; tables or JSON, and an exit code out.

0 = all is found, 2 = some of it is not there, 1 = no answer.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from rich.console import Console
from rich.table import Table

from semantic_field.data.message_images import decode_compressed_color
from semantic_field.field.surface.ply import write_ply
from semantic_field.nodes.commands import query_client
from semantic_field.nodes.ros import conversions
from semantic_field.nodes.ros.client import Client, connected


def run(arguments: argparse.Namespace) -> int:
    """One question to the running query node; ValueError where the arguments do not fit."""
    _check(arguments)
    ask = _ask_texts if len(arguments.text) > 1 else _ask_one
    with connected("query") as client:
        answer, view, found = (_segment if arguments.segment else ask)(client, arguments)
    if arguments.json:
        print(json.dumps(answer, indent=2))
    else:
        Console().print(view)
    if not answer["success"]:
        return 1
    return 0 if found else 2


def _check(arguments: argparse.Namespace) -> None:
    if bool(arguments.text) == (arguments.image is not None):
        got = "both" if arguments.text else "neither"
        raise ValueError(f"expected texts or --image, got {got}")
    if arguments.segment:
        unused = ("image", "negative", "threshold", "max_hits")
        given = [f"--{name.replace('_', '-')}" for name in unused if getattr(arguments, name)]
        if given:
            raise ValueError(f"expected names alone with --segment, got {', '.join(given)}")
    elif arguments.out is not None:
        raise ValueError("expected --out with --segment, got it alone")
    if arguments.out is not None and arguments.out.suffix != ".ply":
        raise ValueError(f"expected a file .ply, got {arguments.out.name!r}")


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "negatives": arguments.negative,
        "threshold": arguments.threshold,
        "max_hits": arguments.max_hits,
        "timeout_s": arguments.timeout,
    }


def _ask_one(client: Client, arguments: argparse.Namespace) -> tuple[dict, Table, bool]:
    options = _options(arguments)
    if arguments.image is not None:
        asked, color = str(arguments.image), decode_compressed_color(arguments.image.read_bytes())
        response = query_client.ask_image(client, color, **options)
    else:
        (asked,) = arguments.text
        response = query_client.ask(client, asked, **options)
    answer = query_client.to_dict(asked, response)
    return answer, hits_table(answer), response.found


def _ask_texts(client: Client, arguments: argparse.Namespace) -> tuple[dict, Table, bool]:
    response = query_client.ask_texts(client, arguments.text, **_options(arguments))
    answer = query_client.texts_to_dict(response)
    return answer, _texts_table(answer), all(one["found"] for one in answer["answers"])


def _segment(client: Client, arguments: argparse.Namespace) -> tuple[dict, Table, bool]:
    with_cloud = arguments.out is not None
    response = query_client.segment(client, arguments.text, arguments.timeout, with_cloud)
    answer = query_client.segments_to_dict(arguments.text, response)
    if response.success and arguments.out is not None:
        write_ply(arguments.out, conversions.surface_points(response.segments, response.origin))
    return answer, _segments_table(answer), all(response.counts)


def hits_table(answer: dict) -> Table:
    """The hits of ``query_client.to_dict`` as a table for the terminal."""
    view = _table(f"“{answer['text']}”: {answer['message']}", "id", "label", *_NUMBERS, "points")
    for hit in answer["hits"]:
        view.add_row(str(hit["id"]), hit["label"], *_numbers(hit), str(hit["point_count"]))
    return view


def _texts_table(answer: dict) -> Table:
    """One row a text: how many hits, and the best of them."""
    view = _table(answer["message"], "text", "hits", "label", *_NUMBERS)
    for one in answer["answers"]:
        best = one["hits"][:1]
        cells = [best[0]["label"], *_numbers(best[0])] if best else ["", f"{one['best_score']:.2f}"]
        view.add_row(one["text"], str(len(one["hits"])), *cells)
    return view


def _segments_table(answer: dict) -> Table:
    view = _table(answer["message"], "name", "points")
    for segment in answer["segments"]:
        view.add_row(segment["name"], str(segment["point_count"]))
    return view


_NUMBERS = ("score", "position (m)", "size (m)")


def _numbers(hit: dict) -> list[str]:
    place = "  ".join(f"{v:.2f}" for v in hit["position"])
    return [f"{hit['score']:.2f}", place, " x ".join(f"{v:.2f}" for v in hit["size"])]


def _table(title: str, *columns: str) -> Table:
    view = Table(title=title, title_justify="left")
    for column in columns:
        is_text = column in ("text", "name", "label")
        view.add_column(column, justify="left" if is_text else "right")
    return view
