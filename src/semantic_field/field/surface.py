"""Points on the surface of the map, with what the field says at each of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from semantic_field.field.description import describe
from semantic_field.field.map_state import MapState
from semantic_field.field.model import SemanticField
from semantic_field.kernels.threads import run_chunks

CORRECTIONS = 3
ARRIVED_M = 0.004
HALF_DIAGONAL = 0.9  # of a cube's edge; exactly 0.866
CELLS = 1 << 21  # on one axis: three numbers fit into 64 bits
CHUNK = 1 << 12


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
    xyz = _surface_near(state, voxel_m, least)
    xyz = xyz[first_in_cells(xyz, voxel_m)]
    seen = describe(state, xyz)
    return SurfacePoints(xyz, seen.normal, seen.color, seen.latent, seen.label, seen.confidence)


def _surface_near(state: MapState, voxel_m: float, least: int) -> NDArray[np.float32]:
    """Where candidates of edge ``voxel_m`` or a little less, in observed voxels, arrive."""
    edge = state.voxels.voxel_m
    cells, _ = state.voxels.occupied(least)
    parts = max(1, math.ceil(edge / voxel_m - 1e-6))
    offsets = (np.stack(np.meshgrid(*[np.arange(parts)] * 3), -1).reshape(-1, 3) + 0.5) / parts
    field = state.field.on_one_thread()
    found: dict[int, NDArray[np.float32]] = {}

    def work(start: int, stop: int) -> None:
        centres = (cells[start:stop, None] + offsets[None]).reshape(-1, 3) * edge
        points = _project(field, centres.astype(np.float32), edge / parts)
        found[start] = points[state.voxels.lookup(points) >= least]

    size = max(1, CHUNK // len(offsets))
    run_chunks(work, len(cells), state.field.kernels.threads, size)
    return np.concatenate([found[k] for k in sorted(found)] or [np.zeros((0, 3), np.float32)])


@torch.no_grad()
def _project(field: SemanticField, points: NDArray[np.float32], edge: float) -> NDArray[np.float32]:
    """Centres of cubes of edge ``edge`` moved onto the zero set; others are left out.

    Left out are those that the first Newton step says have no surface in their cube, and those
    that do not arrive. Further steps go along the first one's gradient: surfaces are nearly
    plane at this scale, and distances alone cost half.
    """
    where = torch.from_numpy(points)
    distance, gradient = field.distance_and_gradient(where)
    towards = gradient / gradient.square().sum(-1, keepdim=True).clamp_min(0.1)
    inside = (distance * towards.norm(dim=-1)).abs() < HALF_DIAGONAL * edge
    where, towards, distance = where[inside], towards[inside], distance[inside]
    for _ in range(CORRECTIONS):
        where = where - distance[:, None] * towards
        distance = field.distance(where)
    return where[distance.abs() < ARRIVED_M].numpy()


def first_in_cells(points: NDArray[np.float32], edge: float) -> NDArray[np.int64]:
    """Index of the first of the points (N, 3) in each cell of edge ``edge`` that holds any."""
    x, y, z = (np.floor(points / np.float32(edge)).astype(np.int64) + CELLS // 2).T
    return np.unique((x * CELLS + y) * CELLS + z, return_index=True)[1]
