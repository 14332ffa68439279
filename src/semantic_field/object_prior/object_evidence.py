"""What an observation says of an object's shape: surface that was met, space that was seen free."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from semantic_field.geometry import invert_transform, make_transform, transform_points
from semantic_field.object_prior.completion import ObservedObject, ObservedView

SURFACE_POINTS = 600
CELLS = 44  # of the grid of free space along each axis
RIM_PX = 1  # pixels around the mask that say nothing: masks are not exact
DEPTH_ERROR = 0.004  # of a depth camera, metres a square metre
LEAST_POINTS = 30
LEAST_LEVEL = 60  # points around an object before a plane is seen in them
GROUND_M = 0.02  # deviation of a ground that is known


@dataclass(frozen=True)
class FreeSpace:
    """Cells of which a view has seen that nothing of the object is there.

    Attributes:
        low: (3,) corner of the grid, level frame, metres.
        cell: (3,) edge lengths, metres.
        free: (X, Y, Z) bool.
    """

    low: NDArray[np.float64]
    cell: NDArray[np.float64]
    free: NDArray[np.bool_]

    @property
    def high(self) -> NDArray[np.float64]:
        """The other corner (3,) of the grid."""
        return self.low + self.cell * self.free.shape


@dataclass(frozen=True)
class ObjectEvidence:
    """An observation in a level frame: z up, origin under the middle of the observed points.

    Attributes:
        T_world_level: (4, 4).
        points, normals: (N, 3) float32, of the observed surface, evenly thinned.
        bases: heights (level frame, metres) at which the object may stand.
        base_deviation_m: how uncertain they are.
        extent_m: diagonal of the box of the observed points.
        views: the views, and ``T_camera_level`` of each.
        space: what is known to be free, as a grid.
    """

    T_world_level: NDArray[np.float64]
    points: NDArray[np.float32]
    normals: NDArray[np.float32]
    bases: tuple[float, ...]
    base_deviation_m: float
    extent_m: float
    views: tuple[ObservedView, ...]
    T_camera_level: tuple[NDArray[np.float64], ...]
    space: FreeSpace

    @cached_property
    def tolerance_m(self) -> float:
        """By how much a surface may be off before it counts as wrong, metres."""
        return float(np.clip(0.1 * self.extent_m, 0.008, 0.05))

    def seen_free(self, points: Float[NDArray, "N 3"], margin_m: float) -> Bool[NDArray, "N"]:
        """Return which points (level frame) a view has seen to be free of the object.

        A point is free where a view measured something farther by ``margin_m``, or sees
        something else than the object there.
        """
        free = np.zeros(len(points), bool)
        for view, pose, clear in zip(self.views, self.T_camera_level, self._clear):
            index, u, v, z = view.camera.pixels_inside(transform_points(pose, points))
            depth = view.depth[v, u]
            margin = margin_m + DEPTH_ERROR * depth**2
            before = view.mask[v, u] & (depth > 0) & (z < depth - margin)
            beside = clear[v, u] & ((depth == 0) | (z < depth + margin))
            free[index[before | beside]] = True
        return free

    def free_places(self, count: int, seed: int = 0) -> Float[NDArray, "M 3"]:
        """Return random places that were seen to be free, of ``count`` tried around the object."""
        rng = np.random.default_rng(seed)
        low, high = self.space.low, self.space.high
        middle, half = (low + high) / 2, (high - low) / 2
        tried = middle + half * rng.uniform(-1, 1, (count, 3)) * [0.75, 0.75, 1.0]
        return tried[self.seen_free(tried, 0.3 * self.tolerance_m)]

    @cached_property
    def _clear(self) -> tuple[NDArray[np.bool_], ...]:
        """Pixels of each view that surely do not show the object."""
        return tuple(~_widened(view.mask | view.others) for view in self.views)


def evidence_of(observed: ObservedObject) -> ObjectEvidence:
    """Return the evidence of an observation.

    Raises:
        ValueError: if there are too few points, or shapes do not agree.
    """
    points, normals = np.asarray(observed.points, float), np.asarray(observed.normals, float)
    if points.shape != normals.shape or len(points) < LEAST_POINTS:
        raise ValueError(
            f"expected at least {LEAST_POINTS} points with as many normals, got {points.shape} "
            f"and {normals.shape}: look at the object from nearer, or map it finer"
        )
    T_world_level = _level_frame(points, np.asarray(observed.up, float))
    T_level_world = invert_transform(T_world_level)
    level = transform_points(T_level_world, points)
    turned = normals @ T_level_world[:3, :3].T
    low, high = np.quantile(level, 0.005, axis=0), np.quantile(level, 0.995, axis=0)
    extent = float(np.linalg.norm(high - low))
    poses = tuple(invert_transform(view.T_world_camera) @ T_world_level for view in observed.views)
    kept = thinned(level, SURFACE_POINTS)
    grid = _empty_space(low, high, extent)
    evidence = ObjectEvidence(
        T_world_level,
        level[kept].astype(np.float32),
        turned[kept].astype(np.float32),
        *_supports(observed, T_world_level, poses, low, high, extent),
        extent,
        observed.views,
        poses,
        grid,
    )
    _mark_free(evidence, grid)
    return evidence


def thinned(points: Float[NDArray, "N 3"], count: int) -> NDArray[np.int64]:
    """Return indices of at most about ``count`` points, one a cell of an even grid."""
    if len(points) <= count:
        return np.arange(len(points))
    span = np.ptp(points, axis=0)
    cell = float(np.linalg.norm(span)) / 80
    first = np.arange(len(points))
    for _ in range(12):
        keys = np.floor((points - points.min(0)) / cell).astype(np.int64)
        _, first = np.unique(keys @ np.array([1, 1 << 20, 1 << 40]), return_index=True)
        if len(first) <= count:
            break
        cell *= 1.12 * max(1.0, (len(first) / count) ** 0.4)
    return np.sort(first)


def _level_frame(points: NDArray, up: NDArray) -> NDArray[np.float64]:
    """Return the pose in the world of a frame with z up under the middle of the points."""
    up = up / np.linalg.norm(up)
    x = np.cross([0.0, 1.0, 0.0] if abs(up[1]) < 0.9 else [0.0, 0.0, 1.0], up)
    x /= np.linalg.norm(x)
    rotation = np.stack([x, np.cross(up, x), up], axis=1)
    turned = points @ rotation
    middle = (turned.min(0) + turned.max(0)) / 2
    middle[2] = np.quantile(turned[:, 2], 0.005)
    return np.asarray(make_transform(rotation, rotation @ middle), np.float64)


def _supports(
    observed: ObservedObject,
    T_world_level: NDArray,
    poses: tuple,
    low: NDArray,
    high: NDArray,
    extent: float,
) -> tuple[tuple[float, ...], float]:
    """Return the heights at which the object may stand, and their deviation, metres."""
    seen, unsure = _bases(observed.views, poses, low, high, extent)
    if observed.ground_m is None:
        return seen, unsure
    ground = observed.ground_m - float(T_world_level[:3, 3] @ T_world_level[:3, 2])
    agreeing = [base for base in seen if abs(base - ground) < 1.5 * GROUND_M]
    return (agreeing[-1] if agreeing else ground,), min(unsure, GROUND_M)


def _bases(
    views: tuple[ObservedView, ...], poses: tuple, low: NDArray, high: NDArray, extent: float
) -> tuple[tuple[float, ...], float]:
    """Return heights of planes that are seen below, and of the lowest points; their deviation.

    What hides an object's lower part may be a plane at its lowest seen points: several are tried.
    """
    heights = []
    for view, pose in zip(views, poses):
        rows, columns = np.nonzero(~view.mask & ~view.others & (view.depth > 0))
        step = max(1, len(rows) // 20000)
        rows, columns = rows[::step], columns[::step]
        lifted = view.camera.lift(columns, rows, view.depth[rows, columns])
        around = transform_points(invert_transform(pose), lifted)
        near = (np.abs(around[:, :2]) < np.abs(high[:2]) + 0.5 * extent).all(1)
        heights.append(around[near, 2])
    same, lowest = 0.06 * extent, float(low[2])
    below = np.concatenate([np.zeros(0), *heights])
    below = below[(below > lowest - 2.0 * extent) & (below < lowest + same)]
    planes = _levels(below, max(0.004, 0.01 * extent), same)
    if len(planes) == 1 and abs(planes[0] - lowest) < same:
        return (planes[0],), max(0.004, 0.006 * extent)
    hangs = all(abs(plane - lowest) >= same for plane in planes)
    return ((lowest,) if hangs else ()) + planes, 0.05 * extent


def _levels(heights: NDArray[np.float64], width: float, apart: float) -> tuple[float, ...]:
    """Return the heights that occur most, at most three and ``apart`` from one another."""
    planes: list[float] = []
    if len(heights) < LEAST_LEVEL:
        return ()
    bins = np.arange(heights.min() - width, heights.max() + 2 * width, width)
    counts, edges = np.histogram(heights, bins)
    middles = edges[:-1] + width / 2
    for _ in range(3):
        peak = int(counts.argmax())
        if counts[peak] < 0.08 * len(heights):
            break
        at = heights[np.abs(heights - middles[peak]) < 1.5 * width]
        planes.append(float(np.median(at)))
        counts[np.abs(middles - planes[-1]) < apart] = 0
    return tuple(planes)


def _empty_space(low: NDArray, high: NDArray, extent: float) -> FreeSpace:
    reach = np.array([0.9, 0.9, 0.25]) * extent
    deep = np.array([0.0, 0.0, 0.35 * extent])
    start, end = low - reach - deep, high + reach
    return FreeSpace(start, (end - start) / CELLS, np.zeros((CELLS,) * 3, bool))


def _mark_free(evidence: ObjectEvidence, space: FreeSpace) -> None:
    """Fill the grid by asking the views about the centre of every cell."""
    if evidence.views:
        index = np.indices(space.free.shape).reshape(3, -1).T
        centres = (index + 0.5) * space.cell + space.low
        margin = 0.3 * float(space.cell.max()) + 0.3 * evidence.tolerance_m
        space.free[:] = evidence.seen_free(centres, margin).reshape(space.free.shape)


def _widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask (H, W) grown by ``RIM_PX`` pixels."""
    import cv2

    size = 2 * RIM_PX + 1
    return cv2.dilate(mask.astype(np.uint8), np.ones((size, size), np.uint8)).astype(bool)
