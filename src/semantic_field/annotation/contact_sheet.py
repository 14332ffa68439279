"""What the labels look like: a contact sheet, and a video."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.annotation.job import LABELS, write_atomically
from semantic_field.data.layouts.sequence import read_image
from semantic_field.data.message_images import void_to_minus_one
from semantic_field.data.sources import FrameSource
from semantic_field.query.colors import label_colors

TILE, COLUMNS, ROWS = 240, 4, 4
OPACITY = 0.6
LEGEND_CLASSES, LINE = 48, 18
VIDEO_WIDTH, VIDEO_HZ = 480, 10.0
FONT = cv2.FONT_HERSHEY_SIMPLEX


def overlay(color: NDArray[np.uint8], labels: NDArray[np.int32], width: int) -> NDArray[np.uint8]:
    """RGB of ``width``: the image with its labels over it; unlabelled pixels are grey."""
    size = (width, max(1, round(color.shape[0] * width / color.shape[1])))
    photo = cv2.resize(color, size, interpolation=cv2.INTER_AREA)
    ids = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT)
    grey = np.repeat(photo.mean(axis=2, keepdims=True), 3, axis=2)
    mixed = OPACITY * label_colors(np.asarray(ids, np.int32)) + (1 - OPACITY) * grey
    return np.where((ids < 0)[..., None], 0.5 * grey, mixed).astype(np.uint8)


def read_labels(out: Path, number: int) -> NDArray[np.int32]:
    """The finished labels of a frame."""
    return void_to_minus_one(read_image(out / LABELS / f"{number:06d}.png", cv2.IMREAD_UNCHANGED))


def contact_sheet(
    source: FrameSource, numbers: list[int], out: Path, summary: dict[str, Any]
) -> NDArray[np.uint8]:
    """RGB: evenly spaced frames with their labels, and the classes' colours below.

    Frames labelled by hand have a white border.
    """
    chosen = np.linspace(0, len(source) - 1, min(len(source), COLUMNS * ROWS)).round().astype(int)
    by_hand = set(summary["labelled_by_hand"])
    tiles = []
    for position in chosen.tolist():
        number = numbers[position]
        tile = overlay(source[position].color, read_labels(out, number), TILE)
        _write(tile, f"{number}", 6, 16)
        tile[:1], tile[:, :1] = 0, 0
        if number in by_hand:
            cv2.rectangle(tile, (1, 1), (tile.shape[1] - 2, tile.shape[0] - 2), (255,) * 3, 3)
        tiles.append(tile)
    blank = np.zeros_like(tiles[0])
    tiles += [blank] * (-len(tiles) % COLUMNS)
    rows = [np.hstack(tiles[i : i + COLUMNS]) for i in range(0, len(tiles), COLUMNS)]
    return np.vstack([*rows, _legend(summary["classes"], rows[0].shape[1])])


def _legend(classes: list[dict[str, Any]], width: int) -> NDArray[np.uint8]:
    shown = classes[:LEGEND_CLASSES]
    lines = -(-len(shown) // COLUMNS)
    image = np.full((LINE * lines + 8, width, 3), 30, np.uint8)
    for i, item in enumerate(shown):
        x, y = 8 + (i % COLUMNS) * (width // COLUMNS), 4 + (i // COLUMNS) * LINE
        image[y + 2 : y + 14, x : x + 14] = label_colors(np.array(item["id"]))
        _write(image, item["name"][:26], x + 20, y + 13)
    return image


def _write(image: NDArray[np.uint8], text: str, x: int, y: int) -> None:
    cv2.putText(image, text, (x, y), FONT, 0.42, (255, 255, 255), 1, cv2.LINE_AA)


def write_contact_sheet(path: Path, image: NDArray[np.uint8]) -> None:
    """As PNG or JPEG, by the suffix."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, 90] if path.suffix == ".jpg" else []
    fine, data = cv2.imencode(path.suffix, image[..., ::-1], quality)
    assert fine
    write_atomically(path, data.tobytes())


def write_video(source: FrameSource, numbers: list[int], out: Path, path: Path) -> bool:
    """All frames with their labels as MP4; False where this OpenCV cannot write one."""
    hidden = path.with_name(f".{path.stem}.tmp{path.suffix}")
    writer = None
    try:
        for position, number in enumerate(numbers):
            image = overlay(source[position].color, read_labels(out, number), VIDEO_WIDTH)
            image = image[: image.shape[0] // 2 * 2]
            if writer is None:
                code = cv2.VideoWriter.fourcc(*"mp4v")
                writer = cv2.VideoWriter(
                    str(hidden), code, VIDEO_HZ, (image.shape[1], image.shape[0])
                )
                if not writer.isOpened():
                    return False
            writer.write(np.ascontiguousarray(image[..., ::-1]))
        if writer is not None:
            writer.release()
            os.replace(hidden, path)
        return writer is not None
    finally:
        hidden.unlink(missing_ok=True)
