"""A few clicked pixels in many views label the surface around them.

The keyframes' pixels are put into voxels, which make a graph of neighbours. A way from voxel to
voxel is as long as it is in metres, times what colour and normal change on it; each voxel takes
the class of the click that is nearest by that measure (geodesic distances; as in seeded
segmentation, Bai & Sapiro 2007, in space and for all views together). Sampled pixels of the
keyframes that had no label get their voxel's.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from semantic_field.field.cells import HALF_AROUND, cell_numbers, find_cells, step_number
from semantic_field.mapping.keyframes.pixels_and_points import samples_of
from semantic_field.mapping.keyframes.store import KeyframeStore

FEW = 0.005  # share of labelled pixels up to which they are clicks
VOXEL_M = 0.04
COLOR_SCALE = 4.0  # difference in CIE Lab that doubles the length of a way
BEND = 60.0  # what a right angle multiplies it by


def spread_clicks(store: KeyframeStore) -> float:
    """Label a raster of 160 pixels across in all keyframes from the clicks of all of them.

    Returns the share of pixels that had a label; from ``FEW`` on nothing is changed.
    """
    slots = range(store.count)
    pixels = int(store.cameras.sizes[: store.count].prod(axis=1).sum())
    labelled = int(store.labelled.totals.sum())
    if not labelled or labelled > FEW * pixels:
        return labelled / max(pixels, 1)
    parts = [samples_of(store, slot) for slot in slots]
    points, color, normal, rows = (np.concatenate(part) for part in list(zip(*parts))[1:])
    color = cv2.cvtColor(color[None], cv2.COLOR_RGB2LAB)[0].astype(np.float64)
    cells, voxel = np.unique(cell_numbers(points, VOXEL_M), return_inverse=True)
    label = _nearest_click(cells, voxel, _means(voxel, color), _means(voxel, normal), rows)
    start = 0
    for slot, part in zip(slots, parts):
        pixel, end = part[0], start + len(part[0])
        own = rows[start:end]
        store.set_labels(slot, pixel, np.where(own >= 0, own, label[voxel[start:end]]))
        start = end
    return labelled / pixels


def _means(voxel: NDArray[np.int64], values: NDArray) -> NDArray[np.float64]:
    count = np.bincount(voxel)
    sums = [np.bincount(voxel, values[:, axis]) for axis in range(values.shape[1])]
    return np.stack(sums, -1) / count[:, None]


def _nearest_click(
    cells: NDArray[np.int64], voxel: NDArray[np.int64], color: NDArray, normal: NDArray,
    rows: NDArray[np.int16],
) -> NDArray[np.int16]:  # fmt: skip
    """The class row of each voxel; -1 where no way leads to a click."""
    clicked = rows >= 0
    votes = coo_matrix(
        (np.ones(clicked.sum()), (voxel[clicked], rows[clicked].astype(np.int64))),
        shape=(len(cells), int(rows.max()) + 1),
    ).tocsr()
    seeds = np.unique(voxel[clicked])
    seed_row = np.asarray(votes[seeds].argmax(axis=1)).reshape(-1)
    row_of = np.full(len(cells) + 1, -1, np.int16)
    row_of[seeds] = seed_row
    _, _, source = dijkstra(
        _graph(cells, color, normal),
        directed=False,
        indices=seeds,
        min_only=True,
        return_predecessors=True,
    )
    return row_of[np.where(source < 0, len(cells), source)]


def _graph(cells: NDArray[np.int64], color: NDArray, normal: NDArray):
    """Ways between neighbouring voxels (26 around each), as a sparse matrix."""
    normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    starts, ends, lengths = [], [], []
    for step in HALF_AROUND:
        place, there = find_cells(cells, cells + step_number(step))
        a = np.flatnonzero(there)
        b = place[a]
        change = ((color[a] - color[b]) ** 2).sum(1) / COLOR_SCALE**2
        bend = 1.0 - (normal[a] * normal[b]).sum(1)
        starts.append(a)
        ends.append(b)
        lengths.append(VOXEL_M * np.linalg.norm(step) * (1.0 + change + BEND * bend))
    joined = (np.concatenate(part) for part in (lengths, starts, ends))
    length, start, end = joined
    return coo_matrix((length, (start, end)), shape=(len(cells),) * 2).tocsr()
