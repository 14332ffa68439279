"""What readers of one map share, from snapshot to snapshot: where its surface is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from semantic_field.field.lattice import Lattice

if TYPE_CHECKING:
    from semantic_field.field.map_state import MapState
    from semantic_field.field.surface import CachedPoints


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
    def lattice(self, state: MapState) -> Iterator[Lattice]:
        """The signed distances of a snapshot, brought up to date where somebody looks.

        They are the caller's as long as the context lasts.
        """
        with self._lock:
            if self._lattice is None or self._lattice.field is not state.field:
                self._lattice = Lattice(state.field, state.reach, self._lattice)
            yield self._lattice
