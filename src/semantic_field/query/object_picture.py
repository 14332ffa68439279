"""Pictures of completed objects: what was observed, the whole, and its parts, from both sides."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.geometry import Camera, invert_transform, look_at, transform_points
from semantic_field.object_prior.completion import Completion
from semantic_field.query.colors import label_colors

BACKGROUND = 255
FIELD_OF_VIEW_RAD = 0.6
ABOVE_RAD = 0.45
FADED = 0.45  # share of a predicted point's colour that is left beside white, in the whole
TITLES = ("observed", "observed and predicted (pale)", "parts")


def draw_object(path: str | Path, completion: Completion, side: int = 320) -> None:
    """Write a picture of a completed object, see ``object_picture``.

    Raises:
        OSError: if the file cannot be written.
    """
    if not cv2.imwrite(str(path), object_picture(completion, side)[..., ::-1]):
        raise OSError(f"{path} could not be written: is the disk full?")


def object_picture(completion: Completion, side: int = 320) -> NDArray[np.uint8]:
    """Return RGB images (2 * side, 3 * side, 3) of an object.

    In columns: the observed points, the whole, and the parts in their colours. In rows: from the
    side on which most was observed, and from the other one.
    """
    seen, colors = completion.observed, completion.colors.astype(float)
    pale = np.where(seen[:, None], colors, 255 - FADED * (255 - colors))
    parts = label_colors(completion.parts.astype(np.int64)).astype(float)
    columns = ((seen, colors), (np.ones_like(seen), pale), (np.ones_like(seen), parts))
    rows = []
    for direction in (_seen_from(completion), -_seen_from(completion)):
        camera, pose = _camera(completion, direction, side)
        tiles = [_splatted(completion, use, paint, camera, pose) for use, paint in columns]
        rows.append(np.hstack(tiles))
    picture = np.vstack(rows)
    for column, title in enumerate(TITLES):
        place = (column * side + 8, 20)
        cv2.putText(
            picture, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (60, 60, 60), 1, cv2.LINE_AA
        )
    _name_parts(picture, completion, side)
    return picture


def _seen_from(completion: Completion) -> NDArray[np.float64]:
    """Return the horizontal unit vector towards where most observed points face."""
    up = completion.T_world_object[:3, 2]
    normals = completion.normals[completion.observed]
    level = normals - (normals @ up)[:, None] * up
    total = level.sum(0)
    length = float(np.linalg.norm(total))
    return total / length if length > 1e-6 else -completion.T_world_object[:3, 1]


def _camera(
    completion: Completion, direction: NDArray[np.float64], side: int
) -> tuple[Camera, NDArray[np.float64]]:
    low, high = completion.points.min(0), completion.points.max(0)
    up, middle = completion.T_world_object[:3, 2], 0.5 * (low + high)
    away = 0.55 * float(np.linalg.norm(high - low)) / np.tan(0.5 * FIELD_OF_VIEW_RAD)
    eye = middle + away * (np.cos(ABOVE_RAD) * direction + np.sin(ABOVE_RAD) * up)
    return (
        Camera.from_field_of_view(side, side, FIELD_OF_VIEW_RAD),
        np.asarray(look_at(eye, middle, up), np.float64),
    )


def _splatted(
    completion: Completion,
    use: NDArray[np.bool_],
    paint: NDArray[np.float64],
    camera: Camera,
    pose: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """Return an image of some of the points as discs, the nearest in front, lit from the camera."""
    image = np.full((camera.height, camera.width, 3), BACKGROUND, np.uint8)
    points, normals = completion.points[use], completion.normals[use]
    if not len(points):
        return image
    local = transform_points(invert_transform(pose), points)
    pixels, z = camera.project(local)
    facing = np.abs((normals @ pose[:3, :3] * local).sum(1)) / np.linalg.norm(local, axis=1)
    colors = paint[use] * (0.55 + 0.45 * facing)[:, None]
    extent = float(np.ptp(completion.points, axis=0).max())
    radius = max(2, round(camera.fx * 0.016 * extent / float(np.median(z))))
    for index in np.argsort(-z):
        u, v = np.rint(pixels[index]).astype(int).tolist()
        cv2.circle(image, (u, v), radius, colors[index].tolist(), cv2.FILLED)
    return image


def _name_parts(picture: NDArray[np.uint8], completion: Completion, side: int) -> None:
    for number, name in enumerate(completion.part_names):
        if (completion.parts == number).any():
            color = label_colors(np.array([number]))[0].tolist()
            _write(picture, name, (2 * side + 8, 40 + 18 * number), color)


def _write(picture: NDArray[np.uint8], text: str, place: tuple[int, int], color: list[int]) -> None:
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, 1, cv2.LINE_AA)
