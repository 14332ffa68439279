"""The demo's completed object: the best hit that there is a prior for, as a picture and a PLY."""

from __future__ import annotations

from pathlib import Path

from semantic_field.nodes.asking.completion_messages import completion_of, completion_summary
from semantic_field.nodes.commands import query_client
from semantic_field.nodes.ros.client import Client
from semantic_field.object_prior.object_file import write_object
from semantic_field.query.object_picture import draw_object
from semantic_field.srv import Query

NAME = "completed"


def complete_one(client: Client, answers: dict[str, Query.Response], out: Path) -> dict:
    """Complete the best hit of the answers that has a prior, and write ``completed.png`` and .ply.

    Hits without a prior are refused at once, so that one completion is made at most.

    Returns:
        what was completed, or why nothing was, as ``completion_summary``.
    """
    best = [answer.hits[0] for answer in answers.values() if answer.hits]
    told = {"success": False, "message": "nothing was found that could be completed"}
    asked: set[int] = set()
    for hit in best:
        if hit.id in asked:
            continue
        asked.add(hit.id)
        response = query_client.complete(client, hit.id)
        told = completion_summary(response)
        if response.success:
            completion = completion_of(response)
            draw_object(out / f"{NAME}.png", completion)
            write_object(out / f"{NAME}.ply", completion)
            return told
    return told
