"""Which part of a surface belongs together: what a click on one point of it means.

Surface points are merged into segments by the graph method of Felzenszwalb and Huttenlocher
(Efficient Graph-Based Image Segmentation, 2004): from the weakest edge on, two segments become
one while the edge between them is weak beside what lies inside them. An edge is strong where the
surface turns inwards (objects meet in concave creases, and are mostly convex themselves), where
the colour changes, and where the map's labels differ.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.spatial import KDTree

from semantic_field.field.surface.points import SurfacePoints
from semantic_field.kernels.threads import run_shared

NEIGHBOURS = 10
REACH = 2.3  # how far neighbours may be apart, in spacings
CONVEX = 0.2  # an outward turn, beside an inward one
COLOR = 1.0
OTHER_LABEL = 0.2
SAME_LABEL = 0.3  # an edge between points of one label, beside one between unknown points
TOLERANCE = 20.0  # over the points of a segment: the weakest edge that is too strong for it
AROUND_SEED = 4.0  # the click means the largest segment within so many spacings
_jit = njit(nogil=True, cache=True, error_model="numpy")


@_jit
def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@_jit
def _merge(first, second, weight, tolerance, parent):
    """Join the ends of edges that come in order of their weight."""
    size = np.ones(len(parent), np.int64)
    inner = np.zeros(len(parent), np.float32)
    for e in range(len(first)):
        a, b = _root(parent, first[e]), _root(parent, second[e])
        if a == b:
            continue
        limit = min(inner[a] + tolerance / size[a], inner[b] + tolerance / size[b])
        if weight[e] <= limit:
            parent[b] = a
            size[a] += size[b]
            inner[a] = weight[e]
    for i in range(len(parent)):
        parent[i] = _root(parent, i)


def segment_surface(points: SurfacePoints, spacing_m: float) -> tuple[NDArray, NDArray, NDArray]:
    """The segment of each point (N,), as the number of one of its points, and the neighbours.

    Args:
        points: at most one for each cube of edge ``spacing_m``.
    Returns:
        segments (N,), and the two ends (E,) of every edge between neighbours.
    """
    first, second, weight = _graph(points, spacing_m, threads=-1)  # all: a person waits
    return _segments(len(points), first, second, weight, [TOLERANCE], 1)[0], first, second


def nested_segments(
    points: SurfacePoints, spacing_m: float, tolerances: Sequence[float], threads: int
) -> list[NDArray[np.int64]]:
    """The segments of each point (N,), numbered from 0, at several tolerances."""
    levels = _segments(len(points), *_graph(points, spacing_m, threads), tolerances, threads)
    return [np.unique(level, return_inverse=True)[1] for level in levels]


def _graph(
    points: SurfacePoints, spacing_m: float, threads: int
) -> tuple[NDArray, NDArray, NDArray]:
    """Both ends of every edge between neighbours, and how much keeps them apart (E,)."""
    first, second = _neighbours(points.xyz, spacing_m, threads)
    return first, second, _strength(points, first, second)


def _segments(
    count: int,
    first: NDArray,
    second: NDArray,
    weight: NDArray,
    tolerances: Sequence[float],
    threads: int,
) -> list[NDArray[np.int64]]:
    order = np.argsort(weight, kind="stable")
    levels = [np.arange(count) for _ in tolerances]
    edges = first[order], second[order], weight[order]
    tasks = [(*edges, *level) for level in zip(tolerances, levels, strict=True)]
    run_shared(_merge, threads, tasks)
    return levels


def region_of(points: SurfacePoints, seed: int, spacing_m: float) -> NDArray[np.bool_]:
    """The part (N,) of a surface that a click on point ``seed`` means.

    The segment there, and what is connected with it, has the same label, and is no larger:
    legs of the clicked chair, but not the floor that was taken for a rug.
    """
    segments, first, second = segment_surface(points, spacing_m)
    segment = _at(points.xyz, segments, seed, AROUND_SEED * spacing_m)
    names, segments = np.unique(segments, return_inverse=True)
    chosen = int(np.searchsorted(names, segment))
    size = np.bincount(segments)
    label = _usual_labels(segments, points.label, len(names))
    joins = (label == label[chosen]) & (label >= 0) & (size <= size[chosen])
    joins[chosen] = True
    inside = np.zeros(len(names), bool)
    inside[chosen] = True
    ends = segments[first], segments[second]
    while True:
        touched = np.zeros_like(inside)
        touched[ends[0][inside[ends[1]]]] = touched[ends[1][inside[ends[0]]]] = True
        grown = inside | (touched & joins)
        if (grown == inside).all():
            return inside[segments]
        inside = grown


def _neighbours(
    xyz: NDArray[np.float32], spacing_m: float, threads: int
) -> tuple[NDArray, NDArray]:
    """Both ends of every edge, each edge once."""
    n = len(xyz)
    _, near = KDTree(xyz).query(
        xyz, NEIGHBOURS + 1, distance_upper_bound=REACH * spacing_m, workers=threads
    )
    ends = np.repeat(np.arange(n), NEIGHBOURS), np.asarray(near)[:, 1:].reshape(-1)
    found = ends[1] < n
    low, high = np.minimum(*ends)[found], np.maximum(*ends)[found]
    edges = np.sort(low * np.int64(n) + high)
    edges = edges[np.append(True, edges[1:] != edges[:-1])]  # np.unique hashes: twice the time
    return edges // n, edges % n


def _strength(points: SurfacePoints, first: NDArray, second: NDArray) -> NDArray[np.float32]:
    normal = _smooth(points.normals, first, second)
    color = _smooth(points.color / np.float32(255), first, second)
    apart = points.xyz[first] - points.xyz[second]
    outwards = ((normal[first] - normal[second]) * apart).sum(1) > 0
    lengths = np.linalg.norm(normal, axis=1)
    cosine = (normal[first] * normal[second]).sum(1) / (lengths[first] * lengths[second] + 1e-6)
    turn = np.where(outwards, CONVEX, 1.0) * (1 - cosine)
    strength = turn + COLOR * np.linalg.norm(color[first] - color[second], axis=1)
    one, other = points.label[first], points.label[second]
    known = (one >= 0) & (other >= 0)
    strength *= np.where(known & (one == other), SAME_LABEL, 1.0)
    return (strength + OTHER_LABEL * (known & (one != other))).astype(np.float32)


def _smooth(values: NDArray, first: NDArray, second: NDArray) -> NDArray[np.float32]:
    """Means (N, 3) over each point and its neighbours."""
    n = len(values)
    count = 1 + np.bincount(first, minlength=n) + np.bincount(second, minlength=n)
    columns = [
        column + np.bincount(first, column[second], n) + np.bincount(second, column[first], n)
        for column in values.T
    ]
    return (np.stack(columns, 1) / count[:, None]).astype(np.float32)


def _at(xyz: NDArray, segments: NDArray, seed: int, radius: float) -> int:
    """The segment with the most points around the seed."""
    near = np.flatnonzero(np.linalg.norm(xyz - xyz[seed], axis=1) < radius)
    found, count = np.unique(segments[near], return_counts=True)
    return int(found[count.argmax()])


def _usual_labels(segments: NDArray, label: NDArray, count: int) -> NDArray[np.int64]:
    """The most frequent label of each segment."""
    pairs, number = np.unique(
        np.stack([segments, label], 1).astype(np.int64), axis=0, return_counts=True
    )
    usual = np.full(count, -1)
    order = np.argsort(number, kind="stable")
    usual[pairs[order, 0]] = pairs[order, 1]  # of several the last one stays: the most frequent
    return usual
