"""The true surface of an object: exact samples with normals, colours, parts; signed distance."""

# Numba's decorators have no stubs.
# pyright: basic, reportCallIssue=false
from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.spatial import KDTree

from semantic_field.data.objects.face_samples import face_areas, points_on_faces
from semantic_field.data.objects.object_model import ObjectModel
from semantic_field.data.objects.object_rendering import lit
from semantic_field.data.objects.solid_distance import (
    buried_in_others,
    nearest_place_buried,
    nearest_solids,
)
from semantic_field.data.room.ray_caster import face_normal
from semantic_field.data.room.scene_tables import shape_tables
from semantic_field.data.room.shading import shade, to_byte, tone_table

MARGIN = 1e-4  # of the object's radius: touching faces are inside the object
INNER_SAMPLES, PLANES = 20_000, 8
_jit = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "arcp", "nsz"})


@dataclass(frozen=True)
class SurfaceSamples:
    """Points on the outer surface of an object, in its own frame.

    Attributes:
        points, normals: (N, 3), metres; unit normals point outwards.
        colors: (N, 3) uint8 sRGB, as every view shows them.
        parts: (N,) uint8, index into the part names (no background).
    """

    points: NDArray[np.float64]
    normals: NDArray[np.float64]
    colors: NDArray[np.uint8]
    parts: NDArray[np.uint8]


def surface_samples(model: ObjectModel, count: int, rng: np.random.Generator) -> SurfaceSamples:
    """Return ``count`` points spread evenly over the object's outer surface.

    Where solids touch or overlap only the surface of their union counts.
    """
    shapes, kinds = shape_tables(model.shapes)
    areas, faces = face_areas(shapes, kinds)
    owners, numbers, local, points, normals = (
        np.empty((0, *s)) for s in ((), (), (3,), (3,), (3,))
    )
    while len(points) < count:
        drawn = faces[rng.choice(len(areas), count + 64, p=areas / areas.sum())]
        batch = _outer_points(model, shapes, kinds, drawn, rng)
        old = owners, numbers, local, points, normals
        owners, numbers, local, points, normals = (
            np.concatenate(pair)[:count] for pair in zip(old, batch)
        )
    owners, numbers = owners.astype(np.int64), numbers.astype(np.int64)
    colors = np.empty((count, 3), np.uint8)
    footprint = 0.004 * model.radius()
    _shade_points(lit(model).scene, tone_table(), owners, numbers, local, footprint, colors)
    return SurfaceSamples(points, normals, colors, model.parts[owners].astype(np.uint8))


def _outer_points(
    model: ObjectModel, shapes: NDArray, kinds: NDArray, drawn: NDArray, rng: np.random.Generator
) -> tuple[NDArray, ...]:
    """Return those of random points on the drawn faces (M, 2) that no other solid covers.

    Returns:
        Solids, faces, points in their solids' own frames, points and normals.
    """
    owners, numbers = drawn[:, 0], drawn[:, 1]
    rows = shapes[owners]
    local = points_on_faces(kinds[owners], numbers, rows[:, 3:6], rows[:, 15], rng)
    rotations = rows[:, 6:15].reshape(-1, 3, 3)
    points = np.einsum("nij,nj->ni", rotations, local) + rows[:, :3]
    normals, buried = np.empty_like(points), np.empty(len(points), np.bool_)
    _normals(shapes, kinds, owners, numbers, local, normals)
    margin = MARGIN * model.radius()
    buried_in_others(shapes, kinds, points + 2 * margin * normals, owners, margin, buried)
    return tuple(part[~buried] for part in (owners, numbers, local, points, normals))


@_jit
def _normals(shapes, kinds, owners, numbers, local, normals):
    for n in range(owners.shape[0]):
        i = owners[n]
        normal = face_normal(shapes, i, kinds[i], numbers[n], local[n])
        normals[n, 0], normals[n, 1], normals[n, 2] = normal[0], normal[1], normal[2]


@_jit
def _shade_points(scene, tone, owners, numbers, local, footprint, colors):
    (shapes, kinds, _, _), surfaces, light, decode = scene
    for n in range(owners.shape[0]):
        i = owners[n]
        p = (local[n, 0], local[n, 1], local[n, 2])
        rgb = shade(shapes, i, kinds[i], numbers[n], surfaces, light, decode, p, footprint)
        colors[n, 0] = to_byte(rgb[0], tone)
        colors[n, 1] = to_byte(rgb[1], tone)
        colors[n, 2] = to_byte(rgb[2], tone)


def signed_distance(model: ObjectModel, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the signed distance (N,) of points (N, 3) to the object's surface, negative inside.

    Outside it is exact. Inside it is the distance to the nearest solid's own surface; where that is
    hidden in another solid, the least distance to the planes of the nearest surface samples.
    """
    shapes, kinds = shape_tables(model.shapes)
    points, margin = np.ascontiguousarray(points, np.float64), MARGIN * model.radius()
    distances, nearest = np.empty(len(points)), np.empty(len(points), np.int64)
    nearest_solids(shapes, kinds, points, distances, nearest)
    inside = np.flatnonzero(distances <= margin)
    buried = np.empty(len(inside), np.bool_)
    nearest_place_buried(
        shapes, kinds, points[inside], distances[inside], nearest[inside], margin, buried
    )
    if buried.any():
        hidden = inside[buried]
        deep = _depth_below_samples(model, points[hidden])
        distances[hidden] = -np.maximum(-distances[hidden], deep)
    return distances


def _depth_below_samples(model: ObjectModel, points: NDArray) -> NDArray[np.float64]:
    """Return the least distance (N,) of points to the tangent planes of the samples around them."""
    tree, normals = _surface_tree(model)
    _, near = tree.query(points, k=PLANES)
    offsets = points[:, None] - tree.data[near]
    return np.abs((offsets * normals[near]).sum(axis=2)).min(axis=1)


def nearest_parts(model: ObjectModel, points: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the part (N,), index into the part names, whose solid is nearest to each point."""
    distances, nearest = np.empty(len(points)), np.empty(len(points), np.int64)
    points = np.ascontiguousarray(points, np.float64)
    nearest_solids(*shape_tables(model.shapes), points, distances, nearest)
    return model.parts[nearest].astype(np.uint8)


@lru_cache(maxsize=8)
def _surface_tree(model: ObjectModel) -> tuple[KDTree, NDArray[np.float64]]:
    """Return samples of the outer surface, and their normals."""
    samples = surface_samples(model, INNER_SAMPLES, np.random.default_rng(3))
    return KDTree(samples.points), samples.normals
