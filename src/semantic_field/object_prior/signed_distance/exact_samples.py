"""Samples of procedural objects: from the solids themselves, without any view."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from semantic_field.data.objects.object_model import ObjectModel
from semantic_field.data.objects.object_surface import surface_samples
from semantic_field.data.objects.object_views import CategoryFrame
from semantic_field.data.objects.solid_distance import nearest_solids
from semantic_field.data.room.scene_tables import shape_tables
from semantic_field.object_prior.signed_distance.instance_samples import (
    InstanceSamples,
    SampleSettings,
    places_to_sample,
)

GAPS = 4.0
"""Widest gap between random samples of a surface, in median distances to the nearest one."""


def exact_samples(
    model: ObjectModel,
    frame: CategoryFrame,
    settings: SampleSettings,
    rng: np.random.Generator,
) -> InstanceSamples:
    """Return the samples of a procedural object; its parts are not looked at.

    Inside, where solids overlap or touch, a distance is that to the nearest solid's own surface or
    to the samples of the outer surface, whichever is deeper.
    """
    outer = surface_samples(model, settings.surface, rng)
    surface = frame.to_canonical(outer.points)
    points = places_to_sample(surface, settings, rng)
    shapes, kinds = shape_tables(model.shapes)
    distances, nearest = np.empty(len(points)), np.empty(len(points), np.int64)
    places = np.ascontiguousarray(frame.to_object(points.astype(np.float64)))
    nearest_solids(shapes, kinds, places, distances, nearest)
    distances /= frame.unit_m
    inside = distances < 0
    tree = KDTree(surface)
    spacing = GAPS * float(np.median(tree.query(surface, 2)[0][:, 1]))
    deep = tree.query(points[inside].astype(np.float64))[0] - spacing
    distances[inside] = np.minimum(distances[inside], -deep)
    return InstanceSamples(
        points, distances.astype(np.float16), surface.astype(np.float16), outer.colors
    )
