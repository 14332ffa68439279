"""Work on an image of rays in bands of rows, each by a thread of its own.

Torch divides every single operation between its threads, and waits for the slowest after each of
them; on a machine that does other things, most of the time is spent waiting. A band is worked on
by one thread from its beginning to its end.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from semantic_field.generalizable.generalizable_model import Prediction
from semantic_field.generalizable.source_images import TargetRays
from semantic_field.kernels.threads import run_parallel

Predict = Callable[[TargetRays, Float[Tensor, "h w S"]], Prediction]
"""Predicts an image of rays with the depths of their samples."""


class Band(NamedTuple):
    """Rows of an image.

    Attributes:
        given: rows that the work looks at. kept: rows of the result, counted from the first given.
    """

    given: slice
    kept: slice


def bands(rows: int, count: int, reach: int) -> list[Band]:
    """Divide rows into up to ``count`` bands that are kept, of as many rows as possible each.

    Args:
        reach: rows above and below a kept one that the work looks at.
    """
    count = max(1, min(count, rows // max(1, reach)))
    edges = [rows * i // count for i in range(count + 1)]
    found = []
    for first, last in pairwise(edges):
        start, stop = max(0, first - reach), min(rows, last + reach)
        found.append(Band(slice(start, stop), slice(first - start, last - start)))
    return found


def predicted_in_bands(
    predict: Predict, rays: TargetRays, depths: Float[Tensor, "h w S"], reach: int, count: int
) -> Prediction:
    """Return what ``predict`` does for whole images, from up to ``count`` bands, in parallel.

    Args:
        depths: of the samples.
        reach: rows above and below a pixel on which its prediction depends.
    """
    parts = bands(len(depths), count, reach)
    found: dict[int, Prediction] = {}

    def work(number: int) -> None:
        given, kept = parts[number]
        part = predict(rays.part(given, slice(None)), depths[given])
        found[number] = part.rows(kept)

    run_on_threads(work, len(parts))
    return joined([[found[number]] for number in range(len(parts))])


def joined(parts: list[list[Prediction]]) -> Prediction:
    """Return the prediction of an image from those of rows of rectangles."""

    def whole(name: str) -> Tensor | None:
        pieces = [[getattr(part, name) for part in row] for row in parts]
        if pieces[0][0] is None:
            return None
        return torch.cat([torch.cat(row, 1) if len(row) > 1 else row[0] for row in pieces], 0)

    names = ("color", "depth", "confidence", "scores", "latent")
    return Prediction(**{name: whole(name) for name in names})  # type: ignore[arg-type]


def run_on_threads(work: Callable[[int], object], count: int) -> None:
    """Call ``work`` for 0 to ``count`` - 1 in parallel, each with one of torch's threads.

    Gradients and inference mode are as in the calling thread.
    """
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def alone(number: int) -> None:
        torch.set_num_threads(1)  # counts for the thread that calls it, and for new ones
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
            work(number)

    before = torch.get_num_threads()
    try:
        run_parallel(alone, [(number,) for number in range(count)])
    finally:
        torch.set_num_threads(before)
