"""Incremental surface point extraction, with colour, label and latent of each point.

Points are extracted brick by brick from the lattice of signed distances. Bricks that have not
changed since an earlier snapshot are taken from the cache.
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
COLOR_PROBES = 4  # points of a brick that are re-evaluated to detect changed colours
COLOR_TOLERANCE = 8  # of 255


def extract_surface(
    state: MapState, voxel_m: float = 0.03, least_observations: int = 2, exact: bool = False
) -> SurfacePoints:
    """Extract at most one surface point per cell of edge ``voxel_m`` (metres).

    Each brick of voxels is divided into a whole number of cells. Points are never denser than the
    lattice (half a voxel).

    Args:
        least_observations: voxels observed less often have no points (1 in a map of few frames).
        exact: recompute bricks taken from an earlier snapshot whenever the field has changed,
            not only where the surface has moved by some millimetres.
    Returns:
        The surface points, with latents, labelled by the keyframes that see them.
    """
    least = least_of(state, least_observations)
    with state.surfaces.lattice(state.field, state.reach) as lattice:
        lattice.refresh(exact=exact)
        points = _extract(state, lattice, voxel_m, least, exact)
    return with_votes(state, points)


def with_votes(state: MapState, points: SurfacePoints) -> SurfacePoints:
    """Return points with the labels and latents of the keyframes that see them, and of people.

    Where no keyframe has voted they keep those of the field.
    """
    votes = state.votes
    if votes is None:
        return points
    threads = state.field.kernels.threads
    return votes.labelled(points, state.class_ids, state.annotations, threads)


def _extract(
    state: MapState, lattice: Lattice, voxel_m: float, least: int, exact: bool
) -> SurfacePoints:
    """See ``extract_surface``; the points, with the field's labels, are stored in the cache."""
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
    """Return ``least_observations``, or 1 in a map of few frames.

    A map has few frames if no voxel was observed more than three times ``least_observations``.
    """
    counts = state.voxels.counts[: len(state.voxels)]
    return least_observations if counts.max(initial=0) > 3 * least_observations else 1


def _still_right(
    state: MapState,
    lattice: Lattice,
    seen: NDArray[np.int64],
    cache: CachedPoints | None,
    exact: bool,
) -> NDArray[np.int64]:
    """Return the new ``CachedPoints.described`` (B,); -1 where points must be extracted again."""
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
    """Return whether the cached points belong to this lattice or one that it was derived from."""
    old = len(cache.baked)
    return cache.number <= lattice.number and np.array_equal(
        cache.bricks, lattice.reach.bricks[: len(lattice.baked)][:old]
    )


def _observations(reach: VoxelGrid, voxels: VoxelGrid) -> NDArray[np.int64]:
    """Return the total number of observations (B,) in each brick of ``reach``."""
    place = reach.bricks[: len(reach)] - voxels.low
    total = np.zeros(len(reach), np.int64)
    inside = ((place >= 0) & (place < voxels.index.shape)).all(1)
    slot = voxels.index[tuple(place[inside].T)] if inside.any() else np.zeros(0, np.int32)
    sums = voxels.counts[: len(voxels)].sum(1, dtype=np.int64)
    total[np.flatnonzero(inside)[slot >= 0]] = sums[slot[slot >= 0]]
    return total


def _recolored(state: MapState, cache: CachedPoints) -> NDArray[np.bool_]:
    """Return which bricks (B,) have a probed point whose colour or label has changed."""
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
    """Extract the points of some bricks; returns them and the slot of each point's brick (N,)."""
    vertices, _, counts = net_vertices(lattice, slots, parts)
    xyz, arrived = project(state, vertices)
    kept = arrived & (state.voxels.lookup(xyz) >= least)
    return describe_points(state, xyz[kept]), np.repeat(slots, counts)[kept]


def project(
    state: MapState, points: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Move points (N, 3) near the surface onto the zero level set of the signed distance.

    Two Newton steps along the initial gradient. Points move at most half a lattice spacing on
    each axis, so that they keep their order.

    Returns:
        The moved points (N, 3), and which of them (N,) ended within ``ARRIVED_M`` of the surface.
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
    """Return surface points at ``xyz`` (N, 3), in the map's own coordinates, with the field's
    normals, colours, labels and confidences there; latents only ``with_latent``.
    """
    seen = describe(state, xyz, with_latent)
    return SurfacePoints(
        xyz, seen.normal, seen.color, seen.latent, seen.label, seen.confidence, state.origin
    )
