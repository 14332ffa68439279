"""What readers of one map share, from snapshot to snapshot: where its surface is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semantic_field.field.model import SemanticField
from semantic_field.field.surface.lattice import Lattice
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.field.voxels.voxel_grid import VoxelGrid


@dataclass(frozen=True)
class CachedPoints:
    """Surface points with what tells which bricks of them are still right.

    Attributes:
        settings: spacing and least observations they were made with.
        number: of the lattice that they were last checked against; bricks: int32 (B, 3), its.
        brick: int32 (N,), slot of the brick that each point was found in; increasing.
        baked: see ``Lattice.baked``; when the distances of each brick were computed.
        described: int64 (B,), the number of the lattice of whose field each brick's points are.
        seen: int64 (B,), how many observations each brick had.
    """

    settings: tuple[float, int]
    number: int
    bricks: NDArray[np.int32]
    points: SurfacePoints
    brick: NDArray[np.int64]
    baked: NDArray[np.int64]
    described: NDArray[np.int64]
    seen: NDArray[np.int64]


class SurfaceCache:
    """Keeps the newest lattice and surface points; the next snapshot starts from them.

    Bounded by one lattice (about 6 kB a brick) and one set of points. Any thread may use it, one
    at a time; readers of different snapshots get what belongs to theirs.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._lattice: Lattice | None = None
        self.points: CachedPoints | None = None

    @contextmanager
    def lattice(self, field: SemanticField, reach: VoxelGrid) -> Iterator[Lattice]:
        """The signed distances of a snapshot's field within its reach.

        They are brought up to date where somebody looks, and the caller's as long as the context
        lasts.
        """
        with self._lock:
            if self._lattice is None or self._lattice.field is not field:
                self._lattice = Lattice(field, reach, self._lattice)
            yield self._lattice
