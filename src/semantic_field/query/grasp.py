"""What a grasp planner needs: the object's points, its box, and the scene without it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from semantic_field.field.surface.points import SurfacePoints
from semantic_field.query.hits import Hit


@dataclass(frozen=True)
class GraspClouds:
    """An object and what a gripper must not touch.

    Attributes:
        object: points of the object, with outward normals.
        scene: the points around it, without it.
        T_world_box: pose of the object's box (4, 4), metres; z is up.
        size: edge lengths of the box (3,), metres.
    """

    object: SurfacePoints
    scene: SurfacePoints
    T_world_box: NDArray[np.float64]
    size: NDArray[np.float64]


def grasp_clouds(hit: Hit, points: SurfacePoints, radius_m: float = 1.5) -> GraspClouds:
    """The clouds of a hit; the scene reaches ``radius_m`` beyond the object's box.

    Points of the object's own label that lie within twice the points' spacing of it count as
    its rim: they are neither object nor obstacle.
    """
    chosen = points.select(hit.indices)
    low, high = chosen.xyz.min(0) - radius_m, chosen.xyz.max(0) + radius_m
    near = ((points.xyz >= low) & (points.xyz <= high)).all(1)
    near[hit.indices] = False
    around = np.flatnonzero(near)
    tree = KDTree(chosen.xyz)
    if len(chosen) > 1 and len(around):
        spacing = float(np.median(np.asarray(tree.query(chosen.xyz[:2000], k=2)[0])[:, 1]))
        found = tree.query(points.xyz[around], distance_upper_bound=2.0 * spacing)
        distance, nearest = np.asarray(found[0]), np.asarray(found[1])
        touching = np.isfinite(distance)
        rim = touching.copy()
        label = points.label[around[touching]]
        rim[touching] = (label == chosen.label[nearest[touching]]) & (label >= 0)
        around = around[~rim]
    return GraspClouds(chosen, points.select(around), hit.T_world_object, hit.size)
