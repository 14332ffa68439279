"""Forgets what has moved away: voxels that are seen through, and the pixels that showed it."""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.field.rays.sampling import DEPTH_UNIT_M, GUESSED
from semantic_field.field.voxels.voxel_grid import VoxelGrid, place
from semantic_field.frames import Frame
from semantic_field.geometry import transform_points
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.robustness.carving import carve, clear_depth
from semantic_field.mapping.robustness.transient import doubt, mask_what_looks_through, shows

FEWEST_VOXELS = 40  # of readings; fewer at once are noise: no keyframe is searched for them
CHANGED_VOXELS = 200  # from which a frame of a covered view becomes a keyframe: 0.3 m2
MOST_MASKED = 0.6  # of a keyframe's pixels; one with more of them is of no use
LOOK_AGAIN_NS = 300_000_000
NOVEL_SHARE = 0.03
GROW_PIXELS = 4
LOOKED_AT = 8  # keyframes of which at most one is searched, for each training step


class MovedThings:
    """Looks through new depth images for what is gone, and doubts what has come.

    A voxel that later images see through loses its observations (``mapping.robustness.carving``):
    views and surfaces show it no longer. Keyframes that still show it would bring it back, so
    their pixels whose surface lies where voxels were cleared are masked, one keyframe for each
    training step; so are those that look through what has come to stay
    (``mapping.robustness.transient``).
    """

    def __init__(self, voxel_m: float, threads: int = 2) -> None:
        self._threads = threads
        self.cleared = VoxelGrid(voxel_m)
        self.forgotten_voxels = 0
        self._to_search: list[int] = []
        self._gone: list[NDArray[np.float32]] = []  # what is searched for
        self._appeared: list[NDArray[np.float64]] = []
        self._looked_ns: int | None = None

    def wants(self, stamp_ns: int) -> bool:
        """Whether a frame from a covered view is worth a look: one now and then is."""
        if self._looked_ns is None or abs(stamp_ns - self._looked_ns) >= LOOK_AGAIN_NS:
            self._looked_ns = stamp_ns
            return True
        return False

    def look(self, frame: Frame, voxels: VoxelGrid, reach: VoxelGrid, store: KeyframeStore) -> bool:
        """Carve both grids by a frame's depth; whether some thing is gone."""
        camera = frame.camera
        intrinsics = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
        view = (clear_depth(frame.depth), intrinsics, frame.T_world_camera)
        readings, gone = carve(voxels, *view), carve(reach, *view)
        if len(gone):
            self.cleared.insert(gone)
        if len(readings) < FEWEST_VOXELS:
            return False
        self._gone.append(readings)
        self._to_search = store.serials[: store.count].tolist()
        self.forgotten_voxels += len(readings)
        return len(readings) >= CHANGED_VOXELS

    def take(self, store: KeyframeStore, slot: int) -> bool:
        """Doubt what a new keyframe sees where others saw through; False where it is given up."""
        believed = doubt(store, slot, self._threads)
        if len(believed):
            self._appeared.append(believed)
            self._to_search = store.serials[: store.count].tolist()
        return not self._give_up(store, slot)

    def _give_up(self, store: KeyframeStore, slot: int) -> bool:
        useless = store.count > 1 and store.masked_share(slot) > MOST_MASKED
        if useless:
            store.remove(slot)
        return useless

    def search_one(self, store: KeyframeStore, reach: VoxelGrid) -> None:
        """Mask what is gone in the next keyframe that shows it and was not searched since."""
        for _ in range(min(LOOKED_AT, len(self._to_search))):
            slots = np.flatnonzero(store.serials[: store.count] == self._to_search.pop())
            if len(slots) and self._search(store, int(slots[0]), reach):
                break
        if not self._to_search:
            self._gone, self._appeared = [], []

    def _search(self, store: KeyframeStore, slot: int, reach: VoxelGrid) -> bool:
        """Mask what is gone, and what looks through what has come; whether that took long."""
        if self._appeared:
            mask_what_looks_through(store, slot, np.concatenate(self._appeared))
        shown = bool(self._gone) and shows(store, slot, np.concatenate(self._gone))
        if shown:
            self._mask_gone(store, slot, reach)
        self._give_up(store, slot)
        return shown or bool(self._appeared)

    def _mask_gone(self, store: KeyframeStore, slot: int, reach: VoxelGrid) -> None:
        width, height = store.cameras.sizes[slot]
        pixels = int(width * height)
        gone = np.zeros(pixels, np.uint8)
        _find_gone(
            store.images.depths[slot, :pixels], store.cameras.intrinsics[slot],
            store.cameras.poses[slot].astype(np.float64), int(width),
            (self.cleared.voxel_m, self.cleared.index, self.cleared.low, self.cleared.counts),
            (reach.voxel_m, reach.index, reach.low, reach.counts), gone,
        )  # fmt: skip
        window = np.ones((2 * GROW_PIXELS + 1,) * 2, np.uint8)
        gone = cv2.dilate(gone.reshape(height, width), window).reshape(-1) > 0
        store.mask(slot, gone)


def novel_share(frame: Frame, reach: VoxelGrid, stride: int = 8) -> float:
    """Share of a frame's readings that lie more than a voxel from all surfaces seen before.

    Surfaces at a flat angle leave voxels out between the pixels, so neighbours count, too.
    """
    depth = frame.depth[::stride, ::stride]
    v, u = np.nonzero(depth > 0)
    z, camera = depth[v, u], frame.camera
    x, y = (stride * u - camera.cx) / camera.fx, (stride * v - camera.cy) / camera.fy
    points = np.stack([x * z, y * z, z], 1)
    points = transform_points(frame.T_world_camera, points).astype(np.float32)
    if not len(points):
        return 0.0
    steps = np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)]).astype(np.float32)
    near = [reach.lookup(points + step * np.float32(reach.voxel_m)) for step in steps]
    return float((np.max(near, axis=0) == 0).mean())


@njit(inline="always")
def _count(point, grid):
    voxel, index, low, counts = grid
    slot, cell = place(point, voxel, index, low)
    return counts[slot, cell] if slot >= 0 else np.uint16(0)


@njit(nogil=True, cache=True, error_model="numpy")
def _find_gone(stored, intrinsics, pose, width, cleared, reach, gone):
    """Set ``gone`` where a pixel's surface lies in a voxel that was cleared and still is.

    Only every second pixel of every second row is looked at.
    """
    fx, fy, cx, cy = intrinsics
    for i in range((len(stored) // width + 1) // 2 * ((width + 1) // 2)):
        n = 2 * (i // ((width + 1) // 2)) * width + 2 * (i % ((width + 1) // 2))
        z = (stored[n] & (GUESSED - 1)) * DEPTH_UNIT_M
        if z == 0:
            continue
        x, y = (n % width - cx) / fx * z, (n // width - cy) / fy * z
        point = (
            pose[0, 3] + pose[0, 0] * x + pose[0, 1] * y + pose[0, 2] * z,
            pose[1, 3] + pose[1, 0] * x + pose[1, 1] * y + pose[1, 2] * z,
            pose[2, 3] + pose[2, 0] * x + pose[2, 1] * y + pose[2, 2] * z,
        )
        if _count(point, cleared) > 0 and _count(point, reach) == 0:
            gone[n] = 1
