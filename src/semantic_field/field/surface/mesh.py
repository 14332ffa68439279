"""Triangle mesh extraction from the distance lattice (surface nets)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semantic_field.field.map_state import MapState
from semantic_field.field.surface.extraction import (
    describe_points,
    least_of,
    project,
    with_votes,
)
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.field.surface.surface_nets import net_quads, net_vertices


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh.

    Attributes:
        vertices: surface points without latents.
        triangles: int32 (M, 3), vertex indices, counter-clockwise seen from free space.
    """

    vertices: SurfacePoints
    triangles: NDArray[np.int32]


def extract_mesh(state: MapState, least_observations: int = 2) -> Mesh:
    """Extract the observed surface as one mesh with shared vertices, at the lattice's spacing.

    Args:
        least_observations: surface observed less often is left out (1 in a map of few frames).
    """
    least = least_of(state, least_observations)
    with state.surfaces.lattice(state.field, state.reach) as lattice:
        lattice.refresh(exact=True)
        where, cells, numbers = net_vertices(lattice, np.arange(len(lattice.stored)))
        quads = net_quads(lattice, cells, numbers)
    vertices = describe_points(state, project(state, where)[0], with_latent=False)
    quads = quads[(_observations(state, vertices) >= least)[quads].all(1)]
    used = np.unique(quads)
    renumbered = np.empty(len(where), np.int32)
    renumbered[used] = np.arange(len(used), dtype=np.int32)
    vertices = with_votes(state, vertices.select(used))
    return Mesh(vertices, halved(renumbered[quads], vertices.xyz))


def _observations(state: MapState, vertices: SurfacePoints) -> NDArray[np.uint16]:
    """Return how often the surface was observed at vertices (N,).

    The maximum over half a voxel to both sides: near a voxel border all readings of the surface
    may have fallen into the neighbouring voxel.
    """
    offset = 0.5 * np.float32(state.voxels.voxel_m) * vertices.normals
    counts = [state.voxels.lookup(vertices.xyz + side * offset) for side in (-1, 0, 1)]
    return np.maximum.reduce(counts)


def halved(quads: NDArray[np.int32], xyz: NDArray[np.float32]) -> NDArray[np.int32]:
    """Split each quad into two triangles along its shorter diagonal."""
    a, b, c, d = quads.T
    across = np.square(xyz[a] - xyz[c]).sum(1) <= np.square(xyz[b] - xyz[d]).sum(1)
    first = np.where(across[:, None], quads[:, [0, 1, 2]], quads[:, [0, 1, 3]])
    second = np.where(across[:, None], quads[:, [0, 2, 3]], quads[:, [1, 2, 3]])
    return np.concatenate([first, second]).astype(np.int32)
