"""Points on the surface of the map, with what the field says at each of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from semantic_field.field.description import describe
from semantic_field.field.map_state import MapState

NEWTON_STEPS = 3
ARRIVED_M = 0.004
CHUNK = 1 << 16


@dataclass(frozen=True)
class SurfacePoints:
    """N surface points in the map frame.

    Attributes:
        xyz: float32 (N, 3), metres.
        normals: float32 (N, 3), unit length, pointing out of the surface into free space.
        color: uint8 RGB (N, 3).
        latent: float16 (N, D), see ``LanguageSpace.similarity``.
        label: int32 class ids (N,), -1 where the map knows no classes.
        confidence: float32 (N,) in 0..1, from the number of observations.
    """

    xyz: NDArray[np.float32]
    normals: NDArray[np.float32]
    color: NDArray[np.uint8]
    latent: NDArray[np.float16]
    label: NDArray[np.int32]
    confidence: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.xyz)

    def select(self, index: NDArray) -> SurfacePoints:
        """The points chosen by an index or mask over N."""
        return SurfacePoints(
            self.xyz[index],
            self.normals[index],
            self.color[index],
            self.latent[index],
            self.label[index],
            self.confidence[index],
        )


def extract_surface(
    state: MapState, voxel_m: float = 0.03, least_observations: int = 2
) -> SurfacePoints:
    """At most one surface point per voxel of edge ``voxel_m`` (metres) of the observed map.

    Candidates are spread over the voxels in which a surface was observed at least
    ``least_observations`` times (once, in a map of few frames), and projected onto the zero set
    of the signed distance; those that do not arrive are dropped.
    """
    seen = state.voxels.occupied(1)[1]
    least = least_observations if len(seen) and seen.max() > 3 * least_observations else 1
    candidates = _candidates(state, voxel_m, least)
    parts = [
        _project(state, candidates[start : start + CHUNK])
        for start in range(0, len(candidates), CHUNK)
    ]
    parts = parts or [np.zeros((0, 3), np.float32)]
    xyz = np.concatenate(parts)
    observations = state.voxels.lookup(xyz)
    arrived = observations >= least
    xyz = xyz[arrived]
    _, first = np.unique(np.floor(xyz / voxel_m).astype(np.int32), axis=0, return_index=True)
    return _described(state, xyz[first])


def _candidates(state: MapState, voxel_m: float, least: int) -> NDArray[np.float32]:
    """Centres of the sub-voxels, of edge ``voxel_m`` or a little less, of the observed ones."""
    edge = state.voxels.voxel_m
    cells, _ = state.voxels.occupied(least)
    parts = max(1, math.ceil(edge / voxel_m - 1e-6))
    offsets = (np.stack(np.meshgrid(*[np.arange(parts)] * 3), -1).reshape(-1, 3) + 0.5) / parts
    points = (cells[:, None] + offsets[None]).reshape(-1, 3) * edge
    return points.astype(np.float32)


def _project(state: MapState, points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Points moved onto the zero set by Newton steps; those that do not arrive are left out."""
    start = torch.from_numpy(points)
    where = start.clone()
    for _ in range(NEWTON_STEPS):
        distance, gradient = state.field.distance_and_gradient(where)
        slope = gradient.square().sum(-1).clamp_min(0.1)
        where = where - (distance / slope)[:, None] * gradient
    near = state.field.distance(where).abs() < ARRIVED_M
    near &= (where - start).norm(dim=-1) < state.voxels.voxel_m
    return where[near].numpy()


def _described(state: MapState, xyz: NDArray[np.float32]) -> SurfacePoints:
    """The points with what the field says at them."""
    seen = describe(state, xyz)
    return SurfacePoints(xyz, seen.normal, seen.color, seen.latent, seen.label, seen.confidence)
