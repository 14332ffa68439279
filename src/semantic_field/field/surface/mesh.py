"""The surface of the map as triangles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semantic_field.field.map_state import MapState
from semantic_field.field.surface.extraction import describe_points, least_of, project
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.field.surface.surface_nets import net_quads, net_vertices


@dataclass(frozen=True)
class Mesh:
    """Triangles (M, 3), int32, counter-clockwise seen from free space, between vertices.

    The vertices carry no latents.
    """

    vertices: SurfacePoints
    triangles: NDArray[np.int32]


def extract_mesh(state: MapState, least_observations: int = 2) -> Mesh:
    """The observed surface as one mesh with shared vertices, at the spacing of the lattice.

    Triangles end where the surface was observed less often than ``least_observations`` times
    (once, in a map of few frames).
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
    vertices = vertices.select(used)
    return Mesh(vertices, _halved(renumbered[quads], vertices.xyz))


def _observations(state: MapState, vertices: SurfacePoints) -> NDArray[np.uint16]:
    """How often the surface was observed at vertices (N,).

    Readings of a surface that lies on the border of two voxels may all be on its other side.
    """
    offset = 0.5 * np.float32(state.voxels.voxel_m) * vertices.normals
    counts = [state.voxels.lookup(vertices.xyz + side * offset) for side in (-1, 0, 1)]
    return np.maximum.reduce(counts)


def _halved(quads: NDArray[np.int32], xyz: NDArray[np.float32]) -> NDArray[np.int32]:
    """Each quad as two triangles, cut along its shorter diagonal."""
    a, b, c, d = quads.T
    across = np.square(xyz[a] - xyz[c]).sum(1) <= np.square(xyz[b] - xyz[d]).sum(1)
    first = np.where(across[:, None], quads[:, [0, 1, 2]], quads[:, [0, 1, 3]])
    second = np.where(across[:, None], quads[:, [0, 2, 3]], quads[:, [1, 2, 3]])
    return np.concatenate([first, second]).astype(np.int32)
