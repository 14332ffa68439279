"""A map seen from above, coloured by relevancy, with the hits' boxes: a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.field.surface.points import SurfacePoints
from semantic_field.query.axes import ground_axes
from semantic_field.query.colors import relevancy_colors

BACKGROUND = (250, 250, 250)
INK = (20, 20, 20)
MARGIN_PX = 60
MAX_PX = 1600
MIN_WIDTH_PX = 640
SHOWN_FROM = 0.3
FONT = cv2.FONT_HERSHEY_SIMPLEX


class BoxedHit(Protocol):
    """What is drawn of a hit."""

    @property
    def label(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def T_world_object(self) -> NDArray[np.float64]: ...
    @property
    def size(self) -> NDArray[np.float64]: ...


class _View:
    """Ground coordinates to pixels: forward to the right, left upwards."""

    def __init__(
        self, local: NDArray[np.float64], axes: NDArray[np.float64], origin: NDArray[np.float64]
    ) -> None:
        self._axes, self._origin = axes, origin
        low, high = (np.quantile(local[:, :2], q, axis=0) for q in (0.002, 0.998))
        low, high = low - 0.2, high + 0.2
        self.pixels_per_m = min(120.0, MAX_PX / float((high - low).max()))
        size = np.ceil((high - low) * self.pixels_per_m).astype(int)
        self._low, self._top = low, high[1]
        self.width = max(int(size[0]) + 2 * MARGIN_PX, MIN_WIDTH_PX)
        self.height = int(size[1]) + 2 * MARGIN_PX

    def pixels_of(self, world: NDArray[np.float64]) -> NDArray[np.int64]:
        """Pixels (N, 2) of points (N, 3) in the frame of the map."""
        return self.pixels((world - self._origin) @ self._axes.T)

    def pixels(self, local: NDArray[np.float64]) -> NDArray[np.int64]:
        """Pixels (N, 2) of ground coordinates (N, 2 or 3)."""
        u = (local[:, 0] - self._low[0]) * self.pixels_per_m + MARGIN_PX
        v = (self._top - local[:, 1]) * self.pixels_per_m + MARGIN_PX
        return np.rint(np.stack([u, v], axis=1)).astype(np.int64)


def draw_top_down(
    path: str | Path,
    points: SurfacePoints,
    relevancy: NDArray[np.floating],
    title: str,
    hits: Sequence[BoxedHit] = (),
    up: str = "+z",
    goal: NDArray[np.float64] | None = None,
) -> None:
    """Write the picture to ``path``; see ``top_down_image``.

    Raises:
        OSError: where the file cannot be written.
    """
    image = top_down_image(points, relevancy, title, hits, up, goal)
    if not cv2.imwrite(str(path), image[..., ::-1]):
        raise OSError(f"{path} could not be written: is the folder there, and the disk not full?")


def top_down_image(
    points: SurfacePoints,
    relevancy: NDArray[np.floating],
    title: str,
    hits: Sequence[BoxedHit] = (),
    up: str = "+z",
    goal: NDArray[np.float64] | None = None,
) -> NDArray[np.uint8]:
    """The points from above without the ceiling, RGB (H, W, 3).

    Points of low relevancy keep their own colour, paler; the others are coloured by relevancy.
    Boxes, names and scores of the hits, a scale of one metre and, where given, the goal pose
    (4, 4) as an arrow are drawn over them.
    """
    axes = ground_axes(up)
    if not len(points):
        return _titled(np.full((240, 640, 3), BACKGROUND, np.uint8), title)
    local = points.xyz.astype(np.float64) @ axes.T
    view = _View(local, axes, points.origin)
    image = np.full((view.height, view.width, 3), BACKGROUND, np.uint8)
    seen = points.normals @ axes[2] > -0.3  # a ceiling faces down and would hide the room
    order = np.flatnonzero(seen)
    shown = np.asarray(relevancy)[order] >= SHOWN_FROM
    order = order[np.lexsort((local[order, 2], shown))]  # what matters is never hidden
    _paint(image, view.pixels(local[order]), _point_colors(points, relevancy)[order], view)
    for hit in hits:
        _draw_box(image, hit, view)
    if goal is not None:
        _draw_goal(image, goal, view)
    for hit in hits:
        _caption(image, hit, view)
    return _titled(_scaled(image, view), title)


def _point_colors(points: SurfacePoints, relevancy: NDArray[np.floating]) -> NDArray[np.uint8]:
    pale = 0.35 * points.color + 0.65 * 255.0
    share = np.clip((np.asarray(relevancy) - SHOWN_FROM) / 0.2, 0.0, 1.0)[:, None]
    return ((1.0 - share) * pale + share * relevancy_colors(relevancy)).astype(np.uint8)


def _paint(
    image: NDArray[np.uint8], pixels: NDArray[np.int64], colors: NDArray[np.uint8], view: _View
) -> None:
    """Points as squares of about 3 cm; later ones over earlier ones."""
    radius = max(0, round(0.015 * view.pixels_per_m))
    inside = ((pixels >= radius) & (pixels < [view.width - radius, view.height - radius])).all(1)
    pixels, colors = pixels[inside], colors[inside]
    for du in range(-radius, radius + 1):
        for dv in range(-radius, radius + 1):
            image[pixels[:, 1] + dv, pixels[:, 0] + du] = colors


def _corners(hit: BoxedHit, view: _View) -> NDArray[np.int64]:
    x, y = 0.5 * hit.size[0], 0.5 * hit.size[1]
    corners = np.array([[x, y, 0.0], [-x, y, 0.0], [-x, -y, 0.0], [x, -y, 0.0]])
    world = corners @ hit.T_world_object[:3, :3].T + hit.T_world_object[:3, 3]
    return view.pixels_of(world)


def _draw_box(image: NDArray[np.uint8], hit: BoxedHit, view: _View) -> None:
    outline = _corners(hit, view).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(image, [outline], True, (255, 255, 255), 5, cv2.LINE_AA)
    cv2.polylines(image, [outline], True, INK, 2, cv2.LINE_AA)


def _caption(image: NDArray[np.uint8], hit: BoxedHit, view: _View) -> None:
    corners = _corners(hit, view)
    place = (int(corners[:, 0].min()), int(corners[:, 1].min()) - 6)
    _text(image, f"{hit.label or 'object'} {hit.score:.2f}", place, 0.5)


def _draw_goal(image: NDArray[np.uint8], goal: NDArray[np.float64], view: _View) -> None:
    ends = np.stack([goal[:3, 3], goal[:3, 3] + 0.35 * goal[:3, 0]])
    start, tip = (tuple(int(v) for v in pixel) for pixel in view.pixels_of(ends))
    cv2.circle(image, start, 7, (200, 0, 160), -1, cv2.LINE_AA)
    cv2.arrowedLine(image, start, tip, (200, 0, 160), 3, cv2.LINE_AA, tipLength=0.35)


def _scaled(image: NDArray[np.uint8], view: _View) -> NDArray[np.uint8]:
    y, length = view.height - MARGIN_PX // 2, round(view.pixels_per_m)
    cv2.line(image, (MARGIN_PX, y), (MARGIN_PX + length, y), INK, 3)
    _text(image, "1 m", (MARGIN_PX + length + 8, y + 5), 0.5)
    bar = relevancy_colors(np.tile(np.linspace(0.0, 1.0, 120), (12, 1)))
    left = view.width - MARGIN_PX - 120
    image[y - 6 : y + 6, left : left + 120] = bar
    _text(image, "relevancy 0", (left - 100, y + 5), 0.45)
    _text(image, "1", (left + 126, y + 5), 0.45)
    return image


def _titled(image: NDArray[np.uint8], title: str) -> NDArray[np.uint8]:
    _text(image, title, (MARGIN_PX, 36), 0.8)
    return image


def _text(image: NDArray[np.uint8], text: str, place: tuple[int, int], scale: float) -> None:
    ascii_text = text.encode("ascii", "replace").decode()  # all that OpenCV's font has
    cv2.putText(image, ascii_text, place, FONT, scale, (255, 255, 255), 4, cv2.LINE_AA)
    cv2.putText(image, ascii_text, place, FONT, scale, INK, 1, cv2.LINE_AA)
