"""How well the boxes and points that a query gives fit the true objects, in 3D."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semantic_field.geometry import invert_transform, make_transform, transform_points


def box_iou(
    T_world_a: NDArray[np.floating],
    size_a: NDArray[np.floating],
    T_world_b: NDArray[np.floating],
    size_b: NDArray[np.floating],
) -> float:
    """IoU of two oriented boxes that stand upright (their z axes are the world's).

    Args:
        T_world_a, T_world_b: poses (4, 4) of the centres, metres.
        size_a, size_b: full edge lengths (3,), metres.
    Raises:
        ValueError: for a box that leans (z axes more than 3 degrees off the vertical).
    """
    corners, spans = [], []
    for T, size in ((T_world_a, size_a), (T_world_b, size_b)):
        if abs(T[2, 2]) < 0.9986:
            raise ValueError(f"expected an upright box, got axes {np.asarray(T)[:3, :3].tolist()}")
        corners.append(_footprint(np.asarray(T, float), np.asarray(size, float)))
        spans.append((T[2, 3] - 0.5 * size[2], T[2, 3] + 0.5 * size[2]))
    height = min(spans[0][1], spans[1][1]) - max(spans[0][0], spans[1][0])
    if height <= 0:
        return 0.0
    common = polygon_area(clip_polygon(corners[0], corners[1])) * height
    total = float(np.prod(size_a) + np.prod(size_b))
    return float(common / (total - common)) if total > common else 0.0


def aligned_box(
    low: NDArray[np.floating], high: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pose and size of the axis-aligned box between two corners (3,)."""
    low, high = np.asarray(low, float), np.asarray(high, float)
    return np.asarray(make_transform(np.eye(3), 0.5 * (low + high)), float), high - low


def inside_box(
    point: NDArray[np.floating], T_world_box: NDArray[np.floating], size: NDArray[np.floating]
) -> bool:
    """Whether a point (3,) lies in an oriented box: LERF's localisation rule for one answer."""
    local = transform_points(invert_transform(np.asarray(T_world_box, float)), np.asarray(point))
    return bool((np.abs(local) <= 0.5 * np.asarray(size) + 1e-9).all())


def _footprint(T: NDArray, size: NDArray) -> NDArray[np.floating]:
    """The four corners (4, 2) of a box seen from above, counter-clockwise."""
    x, y = 0.5 * size[0], 0.5 * size[1]
    corners = np.array([[-x, -y, 0], [x, -y, 0], [x, y, 0], [-x, y, 0]])
    flat = transform_points(T, corners)[:, :2]
    return flat if _signed_area(flat) >= 0 else flat[::-1]


def clip_polygon(
    subject: NDArray[np.floating], window: NDArray[np.floating]
) -> NDArray[np.float64]:
    """The common part of two convex counter-clockwise polygons (Sutherland-Hodgman 1974)."""
    points = [np.asarray(point, float) for point in subject]
    for start, end in zip(window, np.roll(window, -1, axis=0)):
        edge = end - start
        sides = [edge[0] * (p - start)[1] - edge[1] * (p - start)[0] for p in points]
        kept: list[NDArray] = []
        for i, (point, side) in enumerate(zip(points, sides)):
            following, next_side = points[(i + 1) % len(points)], sides[(i + 1) % len(points)]
            if side >= 0:
                kept.append(point)
            if side * next_side < 0:
                kept.append(point + side / (side - next_side) * (following - point))
        points = kept
        if not points:
            break
    return np.array(points).reshape(-1, 2)


def polygon_area(polygon: NDArray[np.float64]) -> float:
    """Area of a polygon (N, 2); 0 for fewer than three corners."""
    return abs(_signed_area(polygon)) if len(polygon) > 2 else 0.0


def _signed_area(polygon: NDArray[np.floating]) -> float:
    x, y = polygon.T
    return float(0.5 * (x @ np.roll(y, -1) - y @ np.roll(x, -1)))
