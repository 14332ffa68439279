"""Pictures of a report: held-out views next to rendered ones, and top-down query maps."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.data.sources import FrameSource
from semantic_field.evaluation.protocols.protocol import Protocol
from semantic_field.evaluation.report.plots import new_figure, to_jpeg
from semantic_field.evaluation.scores.class_set import ClassSet
from semantic_field.evaluation.scores.held_out_views import fit
from semantic_field.evaluation.scores.off_path_scores import OffPathView
from semantic_field.evaluation.scores.scoring import render
from semantic_field.field.views.rendering import RenderedView
from semantic_field.frames import Frame
from semantic_field.mapping.renderer import Renderer
from semantic_field.query.colors import depth_colors, label_colors
from semantic_field.query.engine import QueryEngine
from semantic_field.query.top_down import top_down_image

PICTURE_WIDTH = 360
SHOWN_QUERIES = 4
COLOR_SPAN = 96  # difference of a channel that is drawn white
DEPTH_SPAN_M = 0.2  # depth error that is drawn in full colour
UNOBSERVED = np.array([230, 40, 200])  # tint of what no mapped frame observed


def chosen_views(views: list[dict[str, Any]], each: int = 2) -> list[tuple[str, dict[str, Any]]]:
    """Return the worst and the best views by PSNR, as ("worst" or "best", record)."""
    ranked = sorted((v for v in views if v["psnr"] is not None), key=lambda v: v["psnr"])
    worst = ranked[:each]
    best = [v for v in reversed(ranked) if v not in worst][:each]
    return [("worst", v) for v in worst] + [("best", v) for v in best]


def view_picture(
    source: FrameSource, renderer: Renderer, position: int, protocol: Protocol
) -> bytes:
    """Return a JPEG of one frame: truth, rendering and difference of colour, depth and labels."""
    frame = fit(source[position], PICTURE_WIDTH)
    view, _ = render(renderer, frame)
    rows = [
        ("colour", frame.color, view.color, _color_difference(frame.color, view.color)),
        ("depth", *_depth_row(frame.depth, view.depth)),
    ]
    if frame.labels is not None:
        part = protocol.classes
        classes = ClassSet(source.label_names, part.ignore, part.subset, part.groups)
        rows.append(("labels", *_label_row(frame, view, classes)))
    titles = {"colour": f"difference (x{255 / COLOR_SPAN:.1f})", "labels": "wrong pixels"}
    titles["depth"] = f"error, yellow = {100 * DEPTH_SPAN_M:.0f} cm"
    return _pictures(
        [
            list(zip((f"{name}, true", "rendered", titles[name]), images, strict=True))
            for name, *images in rows
        ]
    )


def off_path_picture(item: OffPathView) -> bytes:
    """Return a JPEG of a view off the path: colour, depth and labels, the truth and all others.

    In the true colours, pixels that no mapped frame observed are tinted.
    """
    truth = item.truth
    far = float(max(np.quantile(truth.depth, 0.99), 0.1))
    tinted = (truth.color.astype(np.int32) + UNOBSERVED) // 2
    color = np.where(item.observed[..., None], truth.color, tinted).astype(np.uint8)
    views = item.views.items()
    rows = [
        [("true, tinted: never observed", color), *((name, view.color) for name, view in views)],
        [
            ("depth, true", depth_colors(truth.depth, far)),
            *(("depth, grey: unknown", depth_colors(view.depth, far)) for _, view in views),
        ],
    ]
    if truth.labels is not None:
        rows.append(
            [
                ("labels, true", label_colors(truth.labels)),
                *(("labels", label_colors(view.label)) for _, view in views),
            ]
        )
    return _pictures(rows)


def _pictures(rows: list[list[tuple[str, NDArray[np.uint8]]]]) -> bytes:
    """Return a JPEG of images (H, W, 3) of one size with titles, in rows of the same length."""
    height, width = rows[0][0][1].shape[:2]
    figure = new_figure(9.6, 0.2 + (9.3 / len(rows[0])) * height / width * len(rows))
    grid = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    for axes_row, row in zip(grid, rows, strict=True):
        for axes, (title, image) in zip(axes_row, row, strict=True):
            axes.imshow(image)
            axes.set_title(title, fontsize=9)
            axes.axis("off")
    return to_jpeg(figure)


def _color_difference(truth: NDArray[np.uint8], rendered: NDArray[np.uint8]) -> NDArray[np.uint8]:
    difference = np.abs(truth.astype(np.int32) - rendered) * 255 // COLOR_SPAN
    return np.minimum(difference, 255).astype(np.uint8)


def _depth_row(truth: NDArray, rendered: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    far = float(max(np.quantile(truth, 0.99), 0.1))
    both = (truth > 0) & (rendered > 0)
    share = np.clip(np.abs(truth - rendered) / DEPTH_SPAN_M, 0, 1)
    error = cv2.applyColorMap((255 * share).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    error = np.where(both[..., None], error, np.uint8(90))
    return depth_colors(truth, far), depth_colors(rendered, far), error


def _label_row(
    frame: Frame, view: RenderedView, classes: ClassSet
) -> tuple[NDArray, NDArray, NDArray]:
    """Return true labels, rendered labels, and errors (red; grey = void or not scored)."""
    assert frame.labels is not None
    truth, rendered = classes.rows(frame.labels), classes.rows(view.label)
    wrong = np.full((*truth.shape, 3), 235, np.uint8)
    wrong[truth < 0] = 150
    wrong[(truth >= 0) & (truth != rendered)] = (192, 67, 63)
    return label_colors(frame.labels), label_colors(view.label), wrong


def query_pictures(
    engine: QueryEngine | None, queries: dict[str, Any] | None
) -> list[tuple[str, bytes]]:
    """Return top-down maps with the hits of some questions, as (caption, JPEG)."""
    if engine is None or queries is None:
        return []
    answers = queries["answers"]
    wrong = [a for a in answers if not a["right"]][:1]
    right = [a for a in answers if a["right"] and a["expected"]]
    pictures = []
    for item in (right + wrong)[: SHOWN_QUERIES - len(wrong)] + wrong:
        result = engine.query(item["text"])
        image = top_down_image(
            result.points, result.relevancy, f'"{item["text"]}"', result.hits, engine.config.up
        )
        verdict = "right" if item["right"] else "wrong"
        there = "there" if item["expected"] else "not there"
        found = "found" if item["found"] else "not found"
        text = f"“{item['text']}”: {there}, {found}, score {item['best_score']:.2f} — {verdict}"
        pictures.append((text, _encode(image)))
    return list(dict(pictures).items())


def _encode(image: NDArray[np.uint8], width: int = 900) -> bytes:
    if image.shape[1] > width:
        size = (width, round(image.shape[0] * width / image.shape[1]))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
