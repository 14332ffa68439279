"""Density-based clustering of points on a voxel grid (a variant of DBSCAN)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from semantic_field.field.cells import HALF_AROUND, find_cells

CORE_NEIGHBOURS = 4
STACK_SHARE = 0.6
STACK_GAP_M = 0.3
SHEET_M = 0.12
SHEET_GAP_M = 0.1
PAD_M = 0.02


def cluster(
    xyz: NDArray[np.floating], voxel_m: float, kind: NDArray[np.integer] | None = None
) -> NDArray[np.int32]:
    """Return the cluster number of each point (N,), -1 = noise.

    Points are in one cluster if their voxels (edge ``voxel_m``, metres) of the same ``kind``
    touch. As in DBSCAN (Ester et al. 1996) only voxels with enough neighbours extend a cluster:
    objects that touch along a thin line stay separate, and isolated voxels are noise.

    Args:
        xyz: (N, 3), metres.
        kind: (N,), integers, such as class ids; points of different kinds never share a cluster.
    Raises:
        ValueError: if the points span too many voxels for 64-bit keys.
    """
    if not len(xyz):
        return np.zeros(0, np.int32)
    cells = np.floor(np.asarray(xyz, np.float64) / voxel_m).astype(np.int64)
    cells -= cells.min(0) - 1
    sort = np.zeros(len(cells), np.int64) if kind is None else kind.astype(np.int64)
    sort = sort - sort.min()
    shape = cells.max(0) + 2  # one empty layer around, so that neighbour keys never wrap around
    if float(np.prod(shape.astype(float))) * (float(sort.max()) + 1) > 2.0**62:
        raise ValueError(
            f"expected points within a site of some kilometres, got a span of "
            f"{(shape * voxel_m).round().tolist()} m; are all poses in one frame?"
        )
    strides = np.array([shape[1] * shape[2], shape[2], 1])
    keys = sort * int(np.prod(shape)) + cells @ strides
    voxels, voxel_of_point = np.unique(keys, return_inverse=True)
    first, second = _neighbours(voxels, HALF_AROUND @ strides)
    return _spread(len(voxels), first, second)[voxel_of_point].astype(np.int32)


def _neighbours(
    voxels: NDArray[np.int64], steps: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return index pairs of touching voxels, each pair once; ``voxels`` are sorted keys."""
    first, second = [], []
    for step in steps:
        place, there = find_cells(voxels, voxels + step)
        found = np.flatnonzero(there)
        first.append(found)
        second.append(place[found])
    return np.concatenate(first), np.concatenate(second)


def _spread(count: int, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cluster voxels: connected core voxels, plus each border voxel with one of its cores."""
    degree = np.bincount(first, minlength=count) + np.bincount(second, minlength=count)
    core = degree >= CORE_NEIGHBOURS
    both = core[first] & core[second]
    graph = coo_matrix((np.ones(both.sum(), bool), (first[both], second[both])), (count, count))
    _, component = connected_components(graph, directed=False)
    component = np.where(core, component, -1)
    for a, b in ((first, second), (second, first)):
        border = (component[a] < 0) & core[b]
        component[a[border]] = component[b[border]]
    used, dense = np.unique(component, return_inverse=True)
    return dense - 1 if len(used) and used[0] < 0 else dense


def groups_of(numbers: NDArray[np.integer]) -> list[NDArray[np.int64]]:
    """Return the point indices of each cluster, largest first; noise (-1) is left out."""
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    groups = np.split(order, starts)[1:] if len(starts) else []
    return sorted(groups, key=len, reverse=True)


def join_stacked(
    groups: list[NDArray[np.int64]], local: NDArray[np.floating], label: NDArray[np.integer]
) -> list[NDArray[np.int64]]:
    """Merge clusters that are parts of one object: same label, and above or close to each other.

    An incompletely observed table falls apart into top and legs, a chair into seat and back. Such
    parts overlap when seen from above, or one is a thin sheet next to the other; two tables side
    by side do neither.

    Args:
        groups: point indices of each cluster, largest first, as ``groups_of`` returns them.
        local: points (N, 3) with z up, metres.
        label: class ids (N,).
    Returns:
        The groups after merging.
    """
    joined: list[NDArray[np.int64]] = []
    boxes: list[tuple[NDArray, NDArray]] = []
    for group in groups:
        low, high = local[group].min(0) - PAD_M, local[group].max(0) + PAD_M
        for i, (big_low, big_high) in enumerate(boxes):
            same = label[group[0]] == label[joined[i][0]]
            if same and _in_one_place(low, high, big_low, big_high):
                joined[i] = np.concatenate([joined[i], group])
                boxes[i] = (np.minimum(low, big_low), np.maximum(high, big_high))
                break
        else:
            joined.append(group)
            boxes.append((low, high))
    return joined


def _in_one_place(low: NDArray, high: NDArray, big_low: NDArray, big_high: NDArray) -> bool:
    """Return whether two boxes overlap seen from above, or one is a thin sheet beside the other."""
    shared = np.minimum(high, big_high) - np.maximum(low, big_low)  # negative: a gap
    extent = np.minimum(high - low, big_high - big_low)
    beside = (extent < SHEET_M) & (shared > -SHEET_GAP_M)
    across = (shared > STACK_SHARE * extent) | beside
    return bool(across[:2].all() and shared[2] > -STACK_GAP_M)
