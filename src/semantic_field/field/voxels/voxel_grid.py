"""Which voxels of space were seen as a surface, and how often: sparse, without bounds.

Voxels come in bricks of 8 x 8 x 8. A small dense index over the bricks' bounding box says where
each brick is stored; it grows with what is observed, and stored bricks never move.
"""

# Compiled functions carry no annotations: Numba infers their types.
from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.field.voxels.traversal import Strides

BRICK = 8
MAX_INDEX_CELLS = 64_000_000
FAR_AWAY = 1 << 62
MOST_COUNTED = 32767  # so that devices can read the counts as int16
ERROR_UNIT_M = 2e-6
ERROR_UNITS = (ERROR_UNIT_M, 1 / 65535)  # of stored errors of depths and colours
ERROR_RATE = np.float32(1 / 16)
_jit = njit(nogil=True, cache=True, error_model="numpy")


@_jit
def _insert(points, weight_mask, voxel, index, low, bricks, counts, seen, used, turn, start):
    """Count points from ``start`` on; stops early when the store is full. (used, next point)."""
    shape = index.shape
    last_x, last_y, last_z = FAR_AWAY, FAR_AWAY, FAR_AWAY
    for n in range(start, len(points)):
        if weight_mask[n] == 0:
            continue
        x = int(np.floor(points[n, 0] / voxel))
        y = int(np.floor(points[n, 1] / voxel))
        z = int(np.floor(points[n, 2] / voxel))
        if x == last_x and y == last_y and z == last_z:
            continue
        last_x, last_y, last_z = x, y, z
        bx, by, bz = (x >> 3) - low[0], (y >> 3) - low[1], (z >> 3) - low[2]
        if not (0 <= bx < shape[0] and 0 <= by < shape[1] and 0 <= bz < shape[2]):
            continue
        slot = index[bx, by, bz]
        if slot < 0:
            if used == len(bricks):
                return used, n
            slot = used
            index[bx, by, bz] = slot
            bricks[slot, 0], bricks[slot, 1], bricks[slot, 2] = x >> 3, y >> 3, z >> 3
            used += 1
        cell = ((z & 7) << 6) | ((y & 7) << 3) | (x & 7)
        if seen[slot, cell] != turn:
            seen[slot, cell] = turn
            if counts[slot, cell] < MOST_COUNTED:
                counts[slot, cell] += 1
    return used, len(points)


@_jit
def _extent(points, mask):
    """Lowest (NaN where one is not finite) and highest of the chosen points, and their number."""
    lowest, highest = np.full(3, np.inf), np.full(3, -np.inf)
    count, finite = 0, True
    for n in range(len(points)):
        if mask[n]:
            count += 1
            for axis in range(3):
                value = points[n, axis]
                finite = finite and np.isfinite(value)
                lowest[axis] = min(lowest[axis], value)
                highest[axis] = max(highest[axis], value)
    if not finite:
        lowest[:] = np.nan
    return lowest, highest, count


@njit(inline="always")
def place(point, voxel, index, low):
    """Where the voxel around a point is stored: slot of its brick (-1 = none) and cell."""
    x = int(np.floor(point[0] / voxel))
    y = int(np.floor(point[1] / voxel))
    z = int(np.floor(point[2] / voxel))
    bx, by, bz = (x >> 3) - low[0], (y >> 3) - low[1], (z >> 3) - low[2]
    slot = -1
    if 0 <= bx < index.shape[0] and 0 <= by < index.shape[1] and 0 <= bz < index.shape[2]:
        slot = index[bx, by, bz]
    return slot, ((z & 7) << 6) | ((y & 7) << 3) | (x & 7)


@_jit
def _lookup(points, voxel, index, low, counts, out):
    for n in range(len(points)):
        slot, cell = place(points[n], voxel, index, low)
        out[n] = counts[slot, cell] if slot >= 0 else 0


@_jit
def _lookup_errors(points, voxel, index, low, errors, units, out):
    for n in range(len(points)):
        slot, cell = place(points[n], voxel, index, low)
        if slot >= 0:
            out[n, 0] = errors[slot, cell, 0] * units[0]
            out[n, 1] = errors[slot, cell, 1] * units[1]


@_jit
def _note_errors(points, depth, color, voxel, index, low, errors):
    for n in range(len(points)):
        slot, cell = place(points[n], voxel, index, low)
        if slot >= 0:
            for kind in range(2):
                new = min(depth[n] if kind == 0 else color[n], np.float32(65535))
                old = np.float32(errors[slot, cell, kind])
                mean = new if old == 0 else old + ERROR_RATE * (new - old)
                errors[slot, cell, kind] = np.uint16(max(mean, np.float32(1)))


class VoxelGrid:
    """Observation counts of voxels of edge ``voxel_m`` (metres) in the map frame.

    One writer; ``copy`` is what readers get.

    Attributes:
        counts: uint16 (B, 512), observations of each voxel of the stored bricks.
        errors: uint16 (B, 512, 2), running means of how far depths (``ERROR_UNIT_M``) and colours
            (65535 = 1) of images and map disagree there; (B, 0, 2) where that is not kept.
        version: grows with every change.
    """

    def __init__(self, voxel_m: float, with_errors: bool = False) -> None:
        self.voxel_m = voxel_m
        self.errors = np.zeros((0, BRICK**3 if with_errors else 0, 2), np.uint16)
        self.low = np.zeros(3, np.int64)
        self.index = np.full((0, 0, 0), -1, np.int32)
        self.bricks = np.zeros((0, 3), np.int32)
        self.counts = np.zeros((0, BRICK**3), np.uint16)
        self._seen = np.zeros((0, BRICK**3), np.uint16)
        self._used = 0
        self._turn = self.version = 0
        self._strides: Strides | None = None

    def __len__(self) -> int:
        """Number of bricks in use."""
        return self._used

    def insert(self, points: NDArray[np.float32], valid: NDArray[np.bool_] | None = None) -> None:
        """Count one observation of every voxel that holds a valid point (N, 3).

        Raises:
            ValueError: where the map would span more than a site of about 1 km.
        """
        mask = np.ones(len(points), np.uint8) if valid is None else valid.astype(np.uint8)
        lowest, highest, count = _extent(points, mask)
        if count == 0:
            return
        if not (np.isfinite(lowest).all() and np.isfinite(highest).all()):
            raise ValueError("expected finite points, got NaN or infinite ones; check the poses")
        edge = self.voxel_m * BRICK
        self._make_room(
            np.floor(lowest / edge).astype(np.int64), np.floor(highest / edge).astype(np.int64)
        )
        self._turn = self._turn % 65535 + 1
        self.version += 1
        self._strides = None
        done = 0
        while done < len(points):
            self._used, done = _insert(
                points, mask, self.voxel_m, self.index, self.low, self.bricks, self.counts,
                self._seen, self._used, self._turn, done,
            )  # fmt: skip
            if done < len(points):
                self._grow(max(256, 2 * len(self.bricks)))

    def forget_strides(self) -> None:
        """To be called after counts were changed from outside."""
        self.version += 1
        self._strides = None

    def lookup_errors(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean disagreement (N, 2) around each point (N, 3): of depths in metres, of colours in
        0..1; zero where none is known.
        """
        out = np.zeros((len(points), 2), np.float32)
        if self.errors.shape[1]:
            grid = (self.voxel_m, self.index, self.low, self.errors)
            _lookup_errors(points, *grid, np.array(ERROR_UNITS, np.float32), out)
        return out

    def note_errors(
        self, points: NDArray[np.float32], depth_m: NDArray[np.float32], color: NDArray[np.float32]
    ) -> None:
        """Let points (N, 3) with their errors (N,), metres and 0..1, move their voxels' means."""
        grid = (self.voxel_m, self.index, self.low, self.errors)
        _note_errors(points, depth_m / np.float32(ERROR_UNIT_M), color * np.float32(65535), *grid)

    def lookup(self, points: NDArray[np.float32]) -> NDArray[np.uint16]:
        """How often the voxel around each point (N, 3) was observed."""
        out = np.empty(len(points), np.uint16)
        _lookup(points, self.voxel_m, self.index, self.low, self.counts, out)
        return out

    def advance(
        self,
        origin: NDArray[np.float64],
        directions: NDArray[np.float32],
        start: NDArray[np.float32],
        far: float,
        rays: NDArray[np.int64],
        threads: int = 2,
    ) -> None:
        """Move ``start`` (N,) of the listed rays on to their next voxel in use.

        Rays are ``origin + start * directions``; one that meets no such voxel before ``far``
        gets an infinite start.
        """
        strides = self._strides
        if strides is None:
            strides = self._strides = Strides(self.index, self.counts[: self._used])
        grid = (self.voxel_m, self.low, self.counts)
        strides.advance(origin, directions, start, far, rays, grid, threads)

    def occupied(self, least: int = 1) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
        """Integer coordinates (M, 3) and counts (M,) of the voxels seen ``least`` times."""
        counts = self.counts[: self._used]
        slot, cell = np.nonzero(counts >= max(least, 1))
        local = np.stack([cell & 7, (cell >> 3) & 7, cell >> 6], axis=1)
        return (self.bricks[slot] * BRICK + local).astype(np.int32), counts[slot, cell]

    def used_voxels(self) -> int:
        """How many voxels have been seen."""
        return int(np.count_nonzero(self.counts[: self._used]))

    def bounds(self) -> NDArray[np.float64]:
        """Lowest and highest corner of the observed voxels (2, 3), metres; zeros when empty."""
        cells, _ = self.occupied()
        if not len(cells):
            return np.zeros((2, 3))
        return np.stack([cells.min(0), cells.max(0) + 1]) * self.voxel_m

    def copy(self) -> VoxelGrid:
        """An independent copy, without spare room."""
        stored = (a[: self._used].copy() for a in (self.bricks, self.counts, self.errors))
        return VoxelGrid.from_bricks(self.voxel_m, *stored)

    @classmethod
    def from_bricks(
        cls,
        voxel_m: float,
        bricks: NDArray[np.int32],
        counts: NDArray[np.uint16],
        errors: NDArray[np.uint16] | None = None,
    ) -> VoxelGrid:
        """The grid of stored bricks: their coordinates (B, 3), counts (B, 512) and errors."""
        grid = cls(voxel_m)
        grid.bricks, grid.counts, grid._used = bricks, counts, len(bricks)
        grid._seen = np.zeros_like(counts)
        grid.errors = np.zeros((len(bricks), 0, 2), np.uint16) if errors is None else errors
        if len(bricks):
            grid._make_room(bricks.min(0).astype(np.int64), bricks.max(0).astype(np.int64))
            x, y, z = (bricks - grid.low).T
            grid.index[x, y, z] = np.arange(len(bricks), dtype=np.int32)
        return grid

    def memory_bytes(self) -> int:
        return sum(
            a.nbytes for a in (self.index, self.bricks, self.counts, self._seen, self.errors)
        )

    def _make_room(self, lowest: NDArray[np.int64], highest: NDArray[np.int64]) -> None:
        """Let the index cover bricks ``lowest`` to ``highest``."""
        shape = np.array(self.index.shape)
        if self.index.size:
            inside = (lowest >= self.low).all() and (highest < self.low + shape).all()
            if inside:
                return
            lowest = np.minimum(lowest - 4, self.low)
            highest = np.maximum(highest + 4, self.low + shape - 1)
        size = highest - lowest + 1
        if np.prod(size.astype(float)) > MAX_INDEX_CELLS:
            span = (size * self.voxel_m * BRICK).round().tolist()
            raise ValueError(
                f"expected a map of at most {MAX_INDEX_CELLS} bricks, got one of {span} m; "
                "are the poses in one frame? else set field.voxel_m higher"
            )
        index = np.full(tuple(size), -1, np.int32)
        if self.index.size:
            x, y, z = self.low - lowest
            index[x : x + shape[0], y : y + shape[1], z : z + shape[2]] = self.index
        self.index, self.low = index, lowest

    def _grow(self, bricks: int) -> None:
        def longer(array: NDArray) -> NDArray:
            grown = np.zeros((bricks, *array.shape[1:]), array.dtype)
            grown[: self._used] = array[: self._used]
            return grown

        self.bricks, self.counts = longer(self.bricks), longer(self.counts)
        self._seen, self.errors = longer(self._seen), longer(self.errors)
