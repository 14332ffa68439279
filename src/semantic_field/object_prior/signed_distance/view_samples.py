"""Samples of an object from views with depth: what anybody's recordings give.

The surface is where pixels with depth are. A place has the distance to the nearest of these points.
It is outside where a view sees past it; else, close to the surface, the side says so that the
nearest point's normal looks to; else it is inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from semantic_field.data.objects.object_views import CategoryFrame, ObjectView
from semantic_field.generalizable.frame_pool import normals_of
from semantic_field.geometry import invert_transform
from semantic_field.object_prior.signed_distance.instance_samples import (
    InstanceSamples,
    SampleSettings,
    places_to_sample,
)

MOST_POINTS = 40_000  # of the surface that distances are measured to
CLOSE = 0.06  # canonical units: up to here the normals decide where no view does
MARGIN = 0.01  # canonical units by which a view must see past a place
SMOOTH = 0.03  # canonical units that a surface may bend from pixel to pixel and have a normal


@dataclass(frozen=True)
class SeenSurface:
    """Surface points that views show, canonical coordinates.

    Attributes:
        points, normals: (N, 3); unit normals, at edges the direction to the camera.
        colors: (N, 3) uint8 sRGB.
    """

    points: NDArray[np.float64]
    normals: NDArray[np.float64]
    colors: NDArray[np.uint8]


def view_samples(
    views: list[ObjectView],
    frame: CategoryFrame,
    settings: SampleSettings,
    rng: np.random.Generator,
) -> InstanceSamples:
    """Return the samples of the object that views with depth show.

    Raises:
        ValueError: if a view has no depth, or no pixel of any view lies on the object.
    """
    seen = seen_surface(views, frame)
    order = rng.permutation(len(seen.points))
    kept = order[:MOST_POINTS]
    kept = SeenSurface(seen.points[kept], seen.normals[kept], seen.colors[kept])
    shown = rng.integers(len(kept.points), size=settings.surface)
    points = places_to_sample(kept.points, settings, rng)
    distances = distances_to(kept, views, frame, points.astype(np.float64))
    return InstanceSamples(
        points,
        distances.astype(np.float16),
        kept.points[shown].astype(np.float16),
        kept.colors[shown],
    )


def seen_surface(views: list[ObjectView], frame: CategoryFrame) -> SeenSurface:
    """Return all pixels with depth as points; see ``view_samples``."""
    parts = [_surface_of(view, frame) for view in views]
    points, normals, colors = (np.concatenate(each) for each in zip(*parts, strict=True))
    if not len(points):
        raise ValueError(
            f"expected views with depth on the object, got {len(views)} in which no pixel has "
            "depth; check the folder depth/"
        )
    return SeenSurface(points, normals, colors)


def _surface_of(view: ObjectView, frame: CategoryFrame) -> tuple[NDArray, NDArray, NDArray]:
    if view.depth is None:
        raise ValueError(
            "expected views with depth to learn signed distances from, got one without; add a "
            "folder depth/, or train the system semantic_srn, which needs none"
        )
    rotation, position = view.T_object_camera[:3, :3], view.T_object_camera[:3, 3]
    known, rays = view.depth > 0, view.camera.rays()
    normals = -rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    smooth = _smooth(view.depth, SMOOTH * frame.unit_m)
    normals[smooth] = normals_of(view.depth, view.camera)[smooth]
    points = (rays[known] * view.depth[known][:, None]) @ rotation.T + position
    return frame.to_canonical(points), normals[known] @ rotation.T, view.color[known]


def _smooth(depth: NDArray[np.float32], bend: float) -> NDArray[np.bool_]:
    """Return where depth (H, W) and its four neighbours lie on one surface, bent by ``bend``."""
    smooth = np.zeros(depth.shape, bool)
    here = depth[1:-1, 1:-1]
    pairs = ((depth[1:-1, :-2], depth[1:-1, 2:]), (depth[:-2, 1:-1], depth[2:, 1:-1]))
    smooth[1:-1, 1:-1] = (here > 0) & np.logical_and.reduce(
        [(a > 0) & (b > 0) & (np.abs(a + b - 2 * here) < bend) for a, b in pairs]
    )
    return smooth


def distances_to(
    surface: SeenSurface,
    views: list[ObjectView],
    frame: CategoryFrame,
    points: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the signed distances (N,) of points (N, 3), canonical units."""
    tree = KDTree(surface.points)
    distances, nearest = tree.query(points)
    spacing = 2.0 * float(np.median(tree.query(surface.points[:2000], 2)[0][:, 1]))
    along = ((points - surface.points[nearest]) * surface.normals[nearest]).sum(axis=1)
    # Between the points of the surface the plane of the nearest one is closer than the point.
    beside = np.sqrt(np.maximum(distances**2 - along**2, 0.0)) < spacing
    length = np.where(beside, np.abs(along), distances)
    outside = np.where(distances < CLOSE, along > 0, False) | _seen_past(points, views, frame)
    return np.where(outside, length, -length)


def _seen_past(
    points: NDArray[np.float64], views: list[ObjectView], frame: CategoryFrame
) -> NDArray[np.bool_]:
    """Return which points (N, 3) lie in front of what a view shows, or where it shows nothing.

    All four pixels around a point must agree: at a silhouette the rounding would decide else.
    """
    found, margin = np.zeros(len(points), bool), MARGIN * frame.unit_m
    places = frame.to_object(points)
    for view in views:
        T_camera_object = invert_transform(view.T_object_camera)
        local = places @ T_camera_object[:3, :3].T + T_camera_object[:3, 3]
        z, camera, depth = local[:, 2], view.camera, view.depth
        assert depth is not None
        reach = np.where(depth > 0, depth, np.inf)
        ahead = z > 1e-6
        column = camera.fx * local[:, 0] / np.where(ahead, z, 1.0) + camera.cx
        row = camera.fy * local[:, 1] / np.where(ahead, z, 1.0) + camera.cy
        inside = ahead & (column >= 0) & (row >= 0)
        inside &= (column <= camera.width - 1) & (row <= camera.height - 1)
        x, y = np.floor(column[inside]).astype(int), np.floor(row[inside]).astype(int)
        right, below = np.minimum(x + 1, camera.width - 1), np.minimum(y + 1, camera.height - 1)
        least = np.minimum.reduce(
            [reach[y, x], reach[y, right], reach[below, x], reach[below, right]]
        )
        found[inside] |= z[inside] < least - margin
    return found
