"""Which keyframes show an object best: many of its points, from different directions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semantic_field.field.views.seeing import FLATTEST, NEAREST_M, NOISE_M, NOISE_PER_M
from semantic_field.field.views.source_views import SourceViews
from semantic_field.object_prior.completion import ObservedView
from semantic_field.object_prior.object_crops import (
    SurroundedObject,
    camera_of,
    crop_of,
    measured,
)

VIEWS = 4
SIDE = 112  # pixels, of the longer side of a crop
MOST_POINTS = 1500  # of an object, of which keyframes are asked what they see
APART_RAD = np.radians(60.0)  # directions at least that far apart count as different
OF_DIRECTION = 0.5  # weight of another direction beside points that were not seen before
LEAST_GAIN = 0.02


def best_views(
    thing: SurroundedObject,
    normals: NDArray[np.floating],
    sources: SourceViews,
    most: int = VIEWS,
    side: int = SIDE,
) -> tuple[ObservedView, ...]:
    """Return crops of the keyframes that show an object best, the most informative first.

    Args:
        normals: (N, 3), outward, of the object's points; without them points on the far side of
            thin parts would count as seen.
        most: largest number of views. side: largest width and height of a crop, pixels.
    Returns:
        The crops, in map coordinates; empty if no keyframe sees the object.
    """
    some = slice(None, None, -(-len(thing.points) // MOST_POINTS))
    seen, directions, sharpness = _asked(thing.points[some], normals[some], sources, side)
    crops = (crop_of(thing, sources, k, side) for k in chosen(seen, directions, sharpness, most))
    return tuple(crop for crop in crops if crop is not None)


def chosen(
    seen: NDArray[np.bool_],
    directions: NDArray[np.floating],
    sharpness: NDArray[np.floating],
    most: int,
) -> list[int]:
    """Choose views of an object greedily, by what each adds to those before it.

    A view adds the points that it sees better than they were seen before, and half as much for all
    that it sees if it looks from 60 degrees beside the others or more.

    Args:
        seen: (K, N), which of N points each view sees.
        directions: (K, 3), unit vectors from the object to the cameras.
        sharpness: (K,), 0..1: resolution of the view, 1 = all that is needed.
    Returns:
        Numbers of the views, best first.
    """
    worth = seen * np.asarray(sharpness, float)[:, None]
    covered, novelty = np.zeros(seen.shape[1]), np.ones(len(seen))
    found: list[int] = []
    while len(found) < min(most, len(seen)):
        fresh = np.clip(worth - covered, 0, None).mean(1)
        gain = fresh + OF_DIRECTION * novelty * worth.mean(1)
        gain[found] = 0
        best = int(gain.argmax())
        if gain[best] < LEAST_GAIN:
            break
        found.append(best)
        covered = np.maximum(covered, worth[best])
        apart = np.arccos(np.clip(directions @ directions[best], -1, 1))
        novelty = np.minimum(novelty, apart / APART_RAD)
    return found


def _asked(
    points: NDArray[np.floating], normals: NDArray[np.floating], sources: SourceViews, side: int
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Return what each keyframe sees (K, N), from which direction (K, 3) and how sharply (K,)."""
    middle, extent = points.mean(0), float(np.ptp(points, axis=0).max())
    seen = np.zeros((len(sources), len(points)), bool)
    away = sources.cameras.poses[:, :3, 3].astype(np.float64) - middle
    distance = np.maximum(np.linalg.norm(away, axis=1), NEAREST_M)
    for k in range(len(sources)):
        seen[k] = visible(points, normals, sources, k)
    pixels = sources.cameras.intrinsics[:, 0] * extent / distance
    return seen, away / distance[:, None], np.minimum(1.0, pixels / side)


def visible(
    points: NDArray[np.floating], normals: NDArray[np.floating], sources: SourceViews, number: int
) -> NDArray[np.bool_]:
    """Return which points (N, 3) with outward normals (N, 3) a keyframe sees.

    It sees a point that faces it and is as far away as its measured depth, within the noise.
    """
    pose = sources.cameras.poses[number].astype(np.float64)
    result = np.zeros(len(points), bool)
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    facing = -(local * (normals @ pose[:3, :3])).sum(1) / np.linalg.norm(local, axis=1)
    camera = camera_of(sources, number)
    index, u, v, z = camera.pixels_inside(local)
    noise = (NOISE_M + NOISE_PER_M * z) / np.maximum(facing[index], FLATTEST)
    reading = measured(sources, number, v * camera.width + u)
    agrees = (reading > 0) & (np.abs(reading - z) <= noise) & (z > NEAREST_M)
    result[index] = agrees & (facing[index] > 0)
    return result
