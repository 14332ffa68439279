"""Input for grasp planners: the object's points and box, and the surrounding scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from semantic_field.field.surface.points import SurfacePoints
from semantic_field.query.hits import Hit


@dataclass(frozen=True)
class GraspClouds:
    """An object and the obstacles around it.

    Attributes:
        object: points of the object, with outward normals.
        scene: points around the object, without those of the object.
        T_world_box: pose of the object's box (4, 4), metres; z is up.
        size: edge lengths of the box (3,), metres.
    """

    object: SurfacePoints
    scene: SurfacePoints
    T_world_box: NDArray[np.float64]
    size: NDArray[np.float64]


def grasp_clouds(hit: Hit, points: SurfacePoints, radius_m: float = 1.5) -> GraspClouds:
    """Return object and scene clouds of a hit; the scene extends ``radius_m`` beyond the object.

    Scene points with the object's label within twice the point spacing of the object are its rim:
    they belong to neither cloud. A part that nobody has seen has an empty object cloud.
    """
    chosen = points.select(hit.indices)
    places = hit.places(points)
    low, high = places.min(0) - radius_m, places.max(0) + radius_m
    near = ((points.xyz >= low) & (points.xyz <= high)).all(1)
    near[hit.indices] = False
    around = np.flatnonzero(near)
    if len(chosen) > 1 and len(around):
        tree = KDTree(chosen.xyz)
        spacing = float(np.median(np.asarray(tree.query(chosen.xyz[:2000], k=2)[0])[:, 1]))
        found = tree.query(points.xyz[around], distance_upper_bound=2.0 * spacing)
        distance, nearest = np.asarray(found[0]), np.asarray(found[1])
        touching = np.isfinite(distance)
        rim = touching.copy()
        label = points.label[around[touching]]
        rim[touching] = (label == chosen.label[nearest[touching]]) & (label >= 0)
        around = around[~rim]
    return GraspClouds(chosen, points.select(around), hit.T_world_object, hit.size)
