"""Where a robot can stand: the floor, and what stands on it, seen from above."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semantic_field.config import QueryConfig
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.query.axes import ground_axes

CELL_M = 0.05
FLOOR_BAND_M = 0.06
CLEARANCE_M = 0.10
MIN_FLOOR_SHARE = 0.1
MIN_FLOOR_M2 = 0.25


@dataclass(frozen=True)
class GroundMap:
    """The ground seen from above, in cells of ``CELL_M`` metres.

    Attributes:
        axes: rows forward, left, up of the ground frame (3, 3).
        origin: ground coordinates (x, y) of the corner of cell (0, 0), metres.
        height: of the floor along up, metres.
        free: observed floor with room for the robot (X, Y).
        obstacle: something stands here at a height that the robot would hit (X, Y).
    """

    axes: NDArray[np.float64]
    origin: NDArray[np.float64]
    height: float
    free: NDArray[np.bool_]
    obstacle: NDArray[np.bool_]

    def cells(self, xy: NDArray[np.floating]) -> NDArray[np.int64]:
        """The cells (..., 2) of ground coordinates (..., 2)."""
        return np.floor((xy - self.origin) / CELL_M).astype(np.int64)

    def centres(self, cells: NDArray[np.integer]) -> NDArray[np.float64]:
        """Ground coordinates (..., 2) of the cells' middles."""
        return self.origin + (cells + 0.5) * CELL_M


def floor_height(local: NDArray[np.floating], normals_up: NDArray[np.floating]) -> float | None:
    """Height of the floor: the lowest of the large surfaces that face up.

    ``local`` are points (N, 3) with z up, ``normals_up`` the upward parts of their normals.
    None where no level surface is at least a quarter of a square metre large.
    """
    level = local[normals_up > 0.85]
    if not len(level):
        return None
    bins = np.floor(level[:, 2] / FLOOR_BAND_M).astype(np.int64)
    lowest = bins.min()
    cells = np.floor(level[:, :2] / CELL_M).astype(np.int64)
    unique = np.unique(np.column_stack([cells, bins - lowest]), axis=0)
    area = np.bincount(unique[:, 2]).astype(float)
    pairs = area + np.append(area[1:], 0.0)  # a floor may lie across the edge of two bins
    least = max(MIN_FLOOR_M2 / CELL_M**2, MIN_FLOOR_SHARE * pairs.max())
    large = np.flatnonzero(pairs >= least)
    if not len(large):
        return None
    inside = (bins - lowest >= large[0]) & (bins - lowest <= large[0] + 1)
    return float(np.median(level[inside, 2]))


def distance_to(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Metres from each cell to the nearest marked one (X, Y); infinite where none is."""
    if not mask.any():
        return np.full(mask.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(~mask), np.float64) * CELL_M


def make_ground_map(points: SurfacePoints, config: QueryConfig) -> GroundMap | None:
    """The ground of a map; None where no floor was observed."""
    axes = ground_axes(config.up)
    local = points.xyz.astype(np.float64) @ axes.T
    up = points.normals @ axes[2]
    height = floor_height(local, up)
    if height is None:
        return None
    above = local[:, 2] - height
    origin = local[:, :2].min(0) - CELL_M
    shape = tuple(np.floor((local[:, :2].max(0) - origin) / CELL_M).astype(int) + 2)

    def marked(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        image = np.zeros(shape, bool)
        image[tuple(np.floor((local[mask, :2] - origin) / CELL_M).astype(int).T)] = True
        return image

    floor = marked((np.abs(above) < FLOOR_BAND_M) & (up > 0.7))
    floor = np.asarray(ndimage.binary_closing(floor, iterations=2), bool)
    obstacle = marked((above > CLEARANCE_M) & (above < config.robot_height_m))
    room = distance_to(obstacle)
    free = floor & (room >= config.robot_radius_m + 0.5 * CELL_M)
    return GroundMap(axes, origin, height, free, obstacle)
