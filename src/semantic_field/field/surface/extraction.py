"""Points on the surface of the map, with what the field says at each of them.

Found brick by brick in the lattice of signed distances. What did not change since an earlier
snapshot is not computed again.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from semantic_field.field.description import describe
from semantic_field.field.map_state import MapState
from semantic_field.field.surface.cache import CachedPoints
from semantic_field.field.surface.lattice import Lattice
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.field.surface.surface_nets import net_vertices
from semantic_field.field.voxels.voxel_grid import BRICK, VoxelGrid
from semantic_field.kernels.threads import run_chunks

CORRECTIONS = 2
ARRIVED_M = 0.004
COLOR_PROBES = 4  # points of a brick that say whether its colours have changed
COLOR_TOLERANCE = 8  # of 255


def extract_surface(
    state: MapState, voxel_m: float = 0.03, least_observations: int = 2, exact: bool = False
) -> SurfacePoints:
    """At most one surface point per cell of edge ``voxel_m`` (metres) of the observed map.

    Cells are those that a brick of voxels is cut into; points are never denser than the lattice
    (half a voxel). Only what was observed at least ``least_observations`` times (once, in a map
    of few frames) has points.

    Args:
        exact: what was taken over from an earlier snapshot is computed again where the field has
            changed at all, not only where it has moved by some millimetres.
    """
    least = least_of(state, least_observations)
    with state.surfaces.lattice(state.field, state.reach) as lattice:
        lattice.refresh(exact=exact)
        return _extract(state, lattice, voxel_m, least, exact)


def _extract(
    state: MapState, lattice: Lattice, voxel_m: float, least: int, exact: bool
) -> SurfacePoints:
    """See ``extract_surface``; what is found stays in the cache."""
    seen = _observations(lattice.reach, state.voxels)
    cache = state.surfaces.points
    if cache is not None and not (
        cache.settings == (voxel_m, least) and _continues(cache, lattice)
    ):
        cache = None
    described = _still_right(state, lattice, seen, cache, exact)
    dirty = described < 0
    described[dirty] = lattice.number
    parts = max(1, math.ceil(BRICK * state.reach.voxel_m / voxel_m - 1e-6))
    points, brick = _points_of(state, lattice, np.flatnonzero(dirty), parts, least)
    if cache is not None:
        kept = ~dirty[cache.brick]
        points = cache.points.select(kept).joined(points)
        brick = np.concatenate([cache.brick[kept], brick])
        order = np.argsort(brick, kind="stable")
        points, brick = points.select(order), brick[order]
    points = replace(points, origin=state.origin)
    state.surfaces.points = CachedPoints(
        (voxel_m, least),
        lattice.number,
        lattice.reach.bricks[: len(seen)],
        points,
        brick,
        lattice.baked.copy(),
        described,
        seen,
    )
    return points


def least_of(state: MapState, least_observations: int) -> int:
    """``least_observations``, or 1 in a map of few frames."""
    counts = state.voxels.counts[: len(state.voxels)]
    return least_observations if counts.max(initial=0) > 3 * least_observations else 1


def _still_right(
    state: MapState,
    lattice: Lattice,
    seen: NDArray[np.int64],
    cache: CachedPoints | None,
    exact: bool,
) -> NDArray[np.int64]:
    """Of which lattice's field the cached points of each brick are; -1 where they must go."""
    described = np.full(len(lattice.baked), -1, np.int64)
    if cache is None:
        return described
    old = len(cache.baked)
    same = (lattice.baked[:old] == cache.baked) & (seen[:old] == cache.seen)
    if exact:
        same &= cache.described == lattice.number
    elif cache.number != lattice.number:
        same &= ~_recolored(state, cache)
    described[:old] = np.where(same, cache.described, -1)
    return described


def _continues(cache: CachedPoints, lattice: Lattice) -> bool:
    """Whether the points are of this state of the map or of one that its lattice grew from."""
    old = len(cache.baked)
    return cache.number <= lattice.number and np.array_equal(
        cache.bricks, lattice.reach.bricks[: len(lattice.baked)][:old]
    )


def _observations(reach: VoxelGrid, voxels: VoxelGrid) -> NDArray[np.int64]:
    """For each brick of ``reach`` how many observations its voxels have had in all."""
    place = reach.bricks[: len(reach)] - voxels.low
    total = np.zeros(len(reach), np.int64)
    inside = ((place >= 0) & (place < voxels.index.shape)).all(1)
    slot = voxels.index[tuple(place[inside].T)] if inside.any() else np.zeros(0, np.int32)
    sums = voxels.counts[: len(voxels)].sum(1, dtype=np.int64)
    total[np.flatnonzero(inside)[slot >= 0]] = sums[slot[slot >= 0]]
    return total


def _recolored(state: MapState, cache: CachedPoints) -> NDArray[np.bool_]:
    """Bricks in which a few points have another colour or label by now."""
    first = np.searchsorted(cache.brick, np.arange(len(cache.baked)))
    rank = np.arange(len(cache.brick)) - first[cache.brick]
    count = np.bincount(cache.brick, minlength=len(cache.baked))[cache.brick]
    probe = np.flatnonzero(rank % np.maximum(count // COLOR_PROBES, 1) == 0)
    now = describe(state, cache.points.xyz[probe], with_latent=False)
    change = np.abs(now.color.astype(np.int16) - cache.points.color[probe]).max(1)
    changed = (change > COLOR_TOLERANCE) | (now.label != cache.points.label[probe])
    result = np.zeros(len(cache.baked), bool)
    result[cache.brick[probe[changed]]] = True
    return result


def _points_of(
    state: MapState, lattice: Lattice, slots: NDArray[np.int64], parts: int, least: int
) -> tuple[SurfacePoints, NDArray[np.int64]]:
    """Points of some bricks, and the brick of each."""
    vertices, _, counts = net_vertices(lattice, slots, parts)
    xyz, arrived = project(state, vertices)
    kept = arrived & (state.voxels.lookup(xyz) >= least)
    return describe_points(state, xyz[kept]), np.repeat(slots, counts)[kept]


def project(
    state: MapState, points: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Points near the surface moved onto the zero set, and which of them (N,) arrived there.

    A Newton step, and another one along the same direction; no farther than half the spacing of
    the lattice, so that a point stays with its neighbours.
    """
    field, limit = state.field.on_one_thread(), 0.25 * state.reach.voxel_m
    moved, arrived = np.empty_like(points), np.empty(len(points), bool)

    @torch.no_grad()
    def work(start: int, stop: int) -> None:
        begin = torch.from_numpy(points[start:stop])
        distance, gradient = field.distance_and_gradient(begin)
        towards = gradient / gradient.square().sum(-1, keepdim=True).clamp_min(0.1)
        where = begin
        for _ in range(CORRECTIONS):
            where = begin + (where - distance[:, None] * towards - begin).clamp(-limit, limit)
            distance = field.distance(where)
        moved[start:stop] = where.numpy()
        arrived[start:stop] = (distance.abs() < ARRIVED_M).numpy()

    run_chunks(work, len(points), state.field.kernels.threads)
    return moved, arrived


def describe_points(
    state: MapState, xyz: NDArray[np.float32], with_latent: bool = True
) -> SurfacePoints:
    """Points in the map's own coordinates with what the field says there."""
    seen = describe(state, xyz, with_latent)
    return SurfacePoints(
        xyz, seen.normal, seen.color, seen.latent, seen.label, seen.confidence, state.origin
    )
