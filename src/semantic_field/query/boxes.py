"""Upright oriented bounding boxes: minimum-area rectangle of the footprint, and height."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

MIN_EDGE_M = 0.01


def oriented_box(
    points: NDArray[np.floating], axes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the upright bounding box of least footprint area of points (N, 3), N >= 1, metres.

    Args:
        axes: of ``ground_axes``.
    Returns:
        ``T_world_box`` (4, 4) of the box's centre, with z up, x along the longer horizontal edge
        and yaw in (-90, 90] degrees; and the full edge lengths (3,), at least 1 cm each.
    """
    local = np.asarray(points, np.float64) @ axes.T
    yaw = _least_yaw(local[:, :2])
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])  # ground from box
    inside = local @ turn
    low, high = inside.min(0), inside.max(0)
    if high[1] - low[1] > high[0] - low[0]:
        return oriented_box_at(points, axes, yaw + 0.5 * np.pi)
    return oriented_box_at(points, axes, yaw)


def oriented_box_at(
    points: NDArray[np.floating], axes: NDArray[np.float64], yaw: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the upright bounding box of points (N, 3) whose x axis has this yaw (radians).

    Returns pose and edge lengths as ``oriented_box``.
    """
    yaw = -((-yaw + 0.5 * np.pi) % np.pi - 0.5 * np.pi)  # into (-pi/2, pi/2]
    c, s = np.cos(yaw), np.sin(yaw)
    rotation = axes.T @ np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    inside = np.asarray(points, np.float64) @ rotation
    low, high = inside.min(0), inside.max(0)
    T_world_box = np.eye(4)
    T_world_box[:3, :3] = rotation
    T_world_box[:3, 3] = rotation @ (0.5 * (low + high))
    return T_world_box, np.maximum(high - low, MIN_EDGE_M)


def _least_yaw(footprint: NDArray[np.float64]) -> float:
    """Return the yaw of the minimum-area rectangle: one of its edges lies on the convex hull."""
    try:
        hull = footprint[ConvexHull(footprint).vertices]
    except (QhullError, ValueError):  # fewer than three points, or all on one line
        spread = footprint - footprint.mean(0)
        direction = np.linalg.svd(spread, full_matrices=False)[2][0]
        return float(np.arctan2(direction[1], direction[0]))
    edges = np.roll(hull, -1, axis=0) - hull
    angles = np.arctan2(edges[:, 1], edges[:, 0])
    c, s = np.cos(angles), np.sin(angles)
    along = hull @ np.stack([c, s])  # (V, angles)
    across = hull @ np.stack([-s, c])
    areas = np.ptp(along, axis=0) * np.ptp(across, axis=0)
    return float(angles[np.argmin(areas)])
