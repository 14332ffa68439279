"""Surface cache: the distance lattice and surface points, reused from snapshot to snapshot."""

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
    """Surface points, with the data that tells which bricks' points are still valid.

    Attributes:
        settings: spacing (metres) and least observations they were extracted with.
        number: of the lattice that they were last checked against.
        bricks: int32 (B, 3), brick coordinates of that lattice.
        brick: int64 (N,), slot of the brick in which each point was found; ascending.
        baked: int64 (B,), when each brick's distances were computed, see ``Lattice.baked``.
        described: int64 (B,), number of the lattice whose field gave each brick's points their
            colours and labels.
        seen: int64 (B,), total number of observations in each brick.
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
    """Keeps the newest lattice and surface points, as a start for the next snapshot.

    Memory is bounded by one lattice (about 6 kB per brick) and one set of points. Thread-safe:
    a lock admits one thread at a time; every reader gets the lattice of its own snapshot.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._lattice: Lattice | None = None
        self.points: CachedPoints | None = None

    @contextmanager
    def lattice(self, field: SemanticField, reach: VoxelGrid) -> Iterator[Lattice]:
        """Context manager that yields the distance lattice of a snapshot's field within ``reach``.

        The caller has exclusive use of the lattice within the context. Its bricks are updated
        lazily, when they are read.
        """
        with self._lock:
            if self._lattice is None or self._lattice.field is not field:
                self._lattice = Lattice(field, reach, self._lattice)
            yield self._lattice
