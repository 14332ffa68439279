"""A place to stand in front of a hit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semantic_field.config import QueryConfig
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.geometry import moved
from semantic_field.query.ground import GroundMap, distance_to, make_ground_map
from semantic_field.query.hits import Hit

FARTHER_M = 1.5


def goal_pose(
    hit: Hit, points: SurfacePoints, config: QueryConfig | None = None
) -> NDArray[np.float64] | None:
    """A pose ``T_world_goal`` (4, 4) on free ground that faces the hit, metres.

    Its origin lies on the floor, its x points at the object and its z up. It keeps
    ``standoff_m`` from the object's points where that ground is free, else the least distance
    beyond it at which there is room for the robot, up to 1.5 m more. Places that see the object
    come first, and of those the ones joined to the largest free area.

    None where no floor was observed, or none of it near the object is free.
    """
    config = config or QueryConfig()
    ground = make_ground_map(points, config)
    if ground is None or not ground.free.any():
        return None
    footprint = np.zeros_like(ground.free)
    on_ground = points.xyz[hit.indices].astype(np.float64) @ ground.axes.T
    footprint[tuple(ground.cells(on_ground[:, :2]).T)] = True
    distance = distance_to(footprint)
    in_reach = (distance >= config.standoff_m) & (distance <= config.standoff_m + FARTHER_M)
    candidates = np.argwhere(ground.free & in_reach)
    if not len(candidates):
        return None
    target = np.median(on_ground[:, :2], axis=0)
    cell = _best(candidates, distance, ground, footprint, target)
    return moved(_facing(ground, ground.centres(cell), target), points.origin)


def _best(
    candidates: NDArray[np.int64],
    distance: NDArray[np.float64],
    ground: GroundMap,
    footprint: NDArray[np.bool_],
    target: NDArray[np.float64],
) -> NDArray[np.int64]:
    """The candidate cell (2,) with the best of reach, view and distance, in this order."""
    parts = np.asarray(ndimage.label(ground.free)[0], np.int64)  # type: ignore[index]
    sizes = np.bincount(parts.ravel())
    size = sizes[parts[tuple(candidates.T)]]
    connected = size >= 0.5 * size.max()
    away = distance[tuple(candidates.T)]
    aside = np.linalg.norm(ground.centres(candidates) - target, axis=1)
    order = np.lexsort((aside, np.round(away, 1), ~connected))
    around = np.asarray(ndimage.binary_dilation(footprint, iterations=2), bool)
    blocked = ground.obstacle & ~around
    for index in order[:500]:
        if connected[index] and _sees(candidates[index], footprint, blocked, ground, target):
            return candidates[index]
    return candidates[order[0]]


def _sees(
    cell: NDArray[np.int64],
    footprint: NDArray[np.bool_],
    blocked: NDArray[np.bool_],
    ground: GroundMap,
    target: NDArray[np.float64],
) -> bool:
    """Whether nothing stands between the cell and the object."""
    end = ground.cells(target)
    steps = int(np.abs(end - cell).max()) + 1
    line = np.rint(np.linspace(cell, end, steps)).astype(np.int64)
    line = line[((line >= 0) & (line < footprint.shape)).all(1)]
    inside = footprint[tuple(line.T)]
    before = line[: int(np.argmax(inside))] if inside.any() else line
    return not blocked[tuple(before.T)].any()


def _facing(
    ground: GroundMap, place: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.float64]:
    forward = target - place
    yaw = np.arctan2(forward[1], forward[0])
    c, s = np.cos(yaw), np.sin(yaw)
    T_map_goal = np.eye(4)
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    T_map_goal[:3, :3] = ground.axes.T @ turn
    T_map_goal[:3, 3] = ground.axes.T @ np.array([place[0], place[1], ground.height])
    return T_map_goal
