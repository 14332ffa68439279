"""Where images and map disagree, voxel by voxel and keyframe by keyframe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semantic_field.field.rays.sampling import GUESSED, RaySamples
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.mapping.keyframes.store import KeyframeStore

KEYFRAME_RATE = 0.1
WARM_UP_STEPS = 200  # what disagrees before says that the map is young


@dataclass(frozen=True)
class RayErrors:
    """How far R rays disagree with the map: depths (R,) in metres along the ray, colours (R,) as
    mean absolute difference in 0..1."""

    depth_m: NDArray[np.float32]
    color: NDArray[np.float32]


def note_errors(
    rays: RaySamples, errors: RayErrors, voxels: VoxelGrid, store: KeyframeStore, step: int
) -> None:
    """Let the rays of a training step move the means of their voxels and keyframes.

    Guessed depths say nothing about voxels.
    """
    mean = store.learnt["error"][: store.count]
    drawn = np.bincount(rays.slot, minlength=store.count)
    latest = np.bincount(rays.slot, errors.color, store.count) / np.maximum(drawn, 1)
    rate = np.where(drawn == 0, 0.0, np.where(mean == 0, 1.0, KEYFRAME_RATE))
    mean += rate * (latest - mean)
    if step < WARM_UP_STEPS:
        return
    read = np.flatnonzero(
        (store.images.depths[rays.slot, rays.pixel] & GUESSED == 0) & (rays.depth > 0)
    )
    points = surface_of(rays, read, store)
    voxels.note_errors(points, errors.depth_m[read], errors.color[read])


def surface_of(
    rays: RaySamples, chosen: NDArray[np.int64], store: KeyframeStore
) -> NDArray[np.float32]:
    """Where the chosen rays' readings lie in the map (N, 3), metres.

    On the ray from the camera through its first sample, at the reading's depth.
    """
    samples = rays.near_z.shape[1]
    origin = store.cameras.poses[rays.slot[chosen], :3, 3]
    first = rays.points[chosen * samples]
    along = (rays.depth[chosen] / rays.near_z[chosen, 0])[:, None]
    return np.ascontiguousarray(origin + along * (first - origin), dtype=np.float32)
