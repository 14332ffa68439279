"""Navigation goals: a free pose in front of a hit that faces it."""

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
    """Return a pose ``T_world_goal`` (4, 4) on free ground that faces the hit, metres.

    Its origin is on the floor, x points at the object and z up. It is ``standoff_m`` from the
    object's points if the ground is free there, else at the least larger distance with room for
    the robot, up to 1.5 m more. Poses in a large connected free area with an unobstructed view
    of the object are preferred.

    Returns:
        The pose, or None if no floor was observed or there is no free floor near the object.
    """
    config = config or QueryConfig()
    ground = make_ground_map(points, config)
    if ground is None or not ground.free.any():
        return None
    footprint = np.zeros_like(ground.free)
    on_ground = hit.places(points) @ ground.axes.T
    cells = ground.cells(on_ground[:, :2])
    inside = ((cells >= 0) & (cells < footprint.shape)).all(1)  # what is predicted may be outside
    if not inside.any():
        return None
    footprint[tuple(cells[inside].T)] = True
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
    """Return the best candidate cell (2,): connected, with a view of the object, then closest."""
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
    """Return whether there is no obstacle between the cell and the object."""
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
