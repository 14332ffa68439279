"""``semantic-field complete``: a hit as a whole object with parts, from the node or a saved map."""

from __future__ import annotations

import argparse
import json

from rich.console import Console
from rich.table import Table

from semantic_field.config import CompletionConfig, QueryConfig, TeacherConfig
from semantic_field.field.map_file import load_map, read_map
from semantic_field.nodes.asking.completion_messages import (
    completion_of,
    completion_summary,
    response_of,
)
from semantic_field.nodes.commands import query_client
from semantic_field.nodes.ros.client import Client, connected
from semantic_field.object_prior.object_file import write_object
from semantic_field.object_prior.prior_completer import make_completer
from semantic_field.query.part_answers import seen_or_not
from semantic_field.query.saved_objects import complete_saved
from semantic_field.srv import CompleteObject
from semantic_field.teachers import make_language_teacher


def run(arguments: argparse.Namespace) -> int:
    """Complete one object; returns 0, or 1 if it was not completed.

    Raises:
        ValueError: on arguments that do not fit together.
        TimeoutError: if no query node answers.
    """
    _check(arguments)
    if arguments.map is not None:
        response = _from_file(arguments)
    else:
        with connected("complete") as client:
            response = _from_node(client, arguments)
    answer = completion_summary(response)
    if response.success and arguments.out is not None:
        write_object(arguments.out, completion_of(response))
    if arguments.json:
        print(json.dumps(answer, indent=2))
    else:
        Console().print(parts_table(answer))
    return 0 if response.success else 1


def _check(arguments: argparse.Namespace) -> None:
    if (arguments.id is None) == (not arguments.text):
        got = "neither" if arguments.id is None else "both"
        raise ValueError(f"expected the id of a hit or --text, got {got}")
    if arguments.map is not None and arguments.id is not None:
        raise ValueError("expected --text with --map, got an id: ids are those of a running node")
    if arguments.map is None and arguments.priors:
        raise ValueError("expected --priors with --map; a node has the parameter completion.priors")
    if arguments.out is not None and arguments.out.suffix != ".ply":
        raise ValueError(f"expected a file .ply, got {arguments.out.name!r}")


def _from_node(client: Client, arguments: argparse.Namespace) -> CompleteObject.Response:
    hit_id = arguments.id
    if hit_id is None:
        found = query_client.ask(client, arguments.text, arguments.timeout)
        if not found.hits:
            return CompleteObject.Response(success=False, message=found.message)
        hit_id = found.hits[0].id
    return query_client.complete(client, hit_id, arguments.category, arguments.timeout)


def _from_file(arguments: argparse.Namespace) -> CompleteObject.Response:
    teacher = make_language_teacher(
        TeacherConfig(
            kind=arguments.language,
            path=arguments.checkpoint,
            architecture=arguments.architecture,
        )
    )
    if teacher is None:
        raise ValueError("expected --language to name a language teacher, got 'none'")
    settings = CompletionConfig(priors=arguments.priors)
    completed = complete_saved(
        load_map(read_map(arguments.map)),
        arguments.text,
        teacher,
        make_completer(settings),
        arguments.category,
        QueryConfig(up=arguments.up),
        settings,
    )
    return response_of(completed)


def parts_table(answer: dict) -> Table:
    """Return the parts of ``completion_summary`` as a table for the terminal."""
    view = Table(title=answer["message"], title_justify="left")
    for column in ("part", "seen", "position (m)", "size (m)", "points"):
        view.add_column(column, justify="left" if column in ("part", "seen") else "right")
    for part in answer.get("parts", ()):
        place = "  ".join(f"{v:.2f}" for v in part["position"])
        size = " x ".join(f"{v:.2f}" for v in part["size"])
        seen = seen_or_not(1.0 - part["observed"])
        view.add_row(part["name"], seen, place, size, str(part["points"]))
    return view
