"""Baking: a mesh becomes a mesh with a texture, whose texels are coloured one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.field.surface.mesh import Mesh
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.field.texture.charts import Charts, charts_of
from semantic_field.field.texture.packing import LARGEST, Packing, packed
from semantic_field.field.texture.rasterising import GUTTER, texels_of
from semantic_field.field.views.blended_view import filled

Paint = Callable[[NDArray[np.float32], NDArray[np.float32], float], NDArray[np.uint8]]
"""Returns colours uint8 (N, 3) of surface points (N, 3) with normals (N, 3) and texels of a size in
metres."""

MOST_PAGES = 4  # of an atlas; coarser texels are taken if more would be needed
TEXELS_AT_ONCE = 1 << 20
BACKGROUND = 16  # pixels, edge of the squares of one colour that fill the rest of a page


@dataclass(frozen=True)
class TexturedPart:
    """The part of a mesh whose texture is on one page of the atlas.

    Attributes:
        mesh: a vertex on the border of several charts occurs once for each.
        uv: float32 (V, 2) in 0..1, from the left and from the top of the page.
        png: the page, sRGB, as a PNG file.
        size: its width and height, pixels.
    """

    mesh: Mesh
    uv: NDArray[np.float32]
    png: bytes
    size: tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """Charts of a mesh and where they lie in the atlas."""

    charts: Charts
    packing: Packing

    @property
    def texels(self) -> int:
        """Number of pixels of all pages."""
        return sum(width * height for width, height in self.packing.sizes)


def lay_out(mesh: Mesh, texel_m: float, largest: int = LARGEST) -> Layout:
    """Divide a mesh into charts and pack them onto at most ``MOST_PAGES`` pages.

    Args:
        texel_m: edge of a texel, metres; larger texels are taken if the pages would not suffice.
        largest: side of a page, pixels.
    """
    while True:
        charts = charts_of(mesh.vertices.xyz, mesh.triangles, texel_m)
        size = charts.size + 2 * GUTTER
        area = size.prod(1, dtype=np.int64).sum() / (MOST_PAGES * largest**2)
        side = size.max(initial=0) / largest
        if area < 1 and side <= 1:
            packing = packed(size, largest)
            if len(packing.sizes) <= MOST_PAGES:
                return Layout(charts, packing)
        texel_m *= max(1.05, math.sqrt(area), side)


def bake(mesh: Mesh, layout: Layout, paint: Paint) -> Iterator[tuple[float, TexturedPart | None]]:
    """Colour the atlas of a mesh.

    At any time only one page is held as an image.

    Yields:
        the share that is done, 0..1, and a part of the mesh whenever one is complete.
    """
    charts, packing = layout.charts, layout.packing
    corners = _corners(mesh, charts)
    order = np.argsort(charts.chart, kind="stable")
    first = np.searchsorted(charts.chart[order], np.arange(len(charts) + 1))
    at = (mesh.vertices.normals[mesh.triangles], mesh.vertices.xyz[mesh.triangles])
    box, done = (charts.size + 2 * GUTTER).astype(np.int32), 0
    total = max(1, int(box.prod(1, dtype=np.int64).sum()))
    for number, (width, height) in enumerate(packing.sizes):
        page, known = np.zeros((height * width, 3), np.uint8), np.zeros(height * width, bool)
        for some in _batches(np.flatnonzero(packing.page == number), box):
            pixels, points, normals = texels_of(
                some, corners, order, first, *at, packing.place, box, width
            )
            page[pixels], known[pixels] = paint(points, normals, charts.texel_m), True
            done += int(box[some].prod(1, dtype=np.int64).sum())
            yield done / total, None
        page, known = page.reshape(height, width, 3), known.reshape(height, width)
        _fill_background(page, known)
        yield done / total, _part(mesh, layout, corners, number, page)


def _corners(mesh: Mesh, charts: Charts) -> NDArray[np.float32]:
    """Return column and row (M, 3, 2) of each face's corners in its chart, texels."""
    axes, low = charts.axes[charts.chart], charts.low[charts.chart]
    along = np.einsum("mad,mcd->mca", axes[:, :2], mesh.vertices.xyz[mesh.triangles])
    corners = (along - low[:, None]) / np.float32(charts.texel_m)
    corners[..., 1] = charts.size[charts.chart, None, 1] - corners[..., 1]  # rows go downwards
    return np.ascontiguousarray(corners, np.float32)


def _batches(charts: NDArray[np.int64], box: NDArray[np.int32]) -> Iterator[NDArray[np.int64]]:
    """Divide charts into groups of about ``TEXELS_AT_ONCE`` texels."""
    group = box[charts].prod(1, dtype=np.int64).cumsum() // TEXELS_AT_ONCE
    for stop in np.flatnonzero(np.diff(group, append=-1)):
        start = np.searchsorted(group, group[stop])
        yield charts[start : stop + 1]


def _fill_background(page: NDArray[np.uint8], known: NDArray[np.bool_]) -> None:
    """Fill what no chart covers with colours from nearby, so that smaller copies have no fringes.

    Viewers average pixels where a texture is seen from afar.
    """
    height, width = known.shape
    coarse = (-(-width // BACKGROUND), -(-height // BACKGROUND))
    share = cv2.resize(known.view(np.uint8) * 255, coarse, interpolation=cv2.INTER_AREA) / 255
    mean = cv2.resize(page, coarse, interpolation=cv2.INTER_AREA)
    mean = mean / np.maximum(share, 0.2)[..., None]
    background = filled(mean.clip(0, 255).astype(np.uint8), share > 0.2)
    columns = np.minimum(np.arange(width) * coarse[0] // width, coarse[0] - 1)
    for row in range(height):
        rest = ~known[row]
        page[row, rest] = background[row * coarse[1] // height, columns[rest]]


def _part(
    mesh: Mesh,
    layout: Layout,
    corners: NDArray[np.float32],
    number: int,
    page: NDArray[np.uint8],
) -> TexturedPart:
    charts, packing = layout.charts, layout.packing
    faces = np.flatnonzero((charts.chart >= 0) & (packing.page[charts.chart] == number))
    chart = charts.chart[faces].astype(np.int64)
    key = (chart[:, None] * len(mesh.vertices) + mesh.triangles[faces]).reshape(-1)
    _, sample, triangles = np.unique(key, return_index=True, return_inverse=True)
    place = packing.place[chart][:, None] + GUTTER + corners[faces]
    size = packing.sizes[number]
    uv = (place.reshape(-1, 2)[sample] / size).astype(np.float32)
    vertices: SurfacePoints = mesh.vertices.select(mesh.triangles[faces].reshape(-1)[sample])
    part = Mesh(vertices, triangles.reshape(-1, 3).astype(np.int32))
    fine, data = cv2.imencode(".png", cv2.cvtColor(page, cv2.COLOR_RGB2BGR))
    assert fine
    return TexturedPart(part, uv, data.tobytes(), size)
