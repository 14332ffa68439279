"""Forgets what has moved away: voxels that are seen through, and the pixels that showed it."""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import cv2
import numpy as np
from numba import njit

from semantic_field.field.carving import carve
from semantic_field.field.sampling import DEPTH_UNIT_M, GUESSED
from semantic_field.field.voxels import VoxelGrid
from semantic_field.frames import Frame
from semantic_field.geometry import transform_points
from semantic_field.mapping.keyframes import KeyframeStore

FEWEST_VOXELS = 12  # fewer that are forgotten at once are noise: no keyframe is searched for them
CHANGED_VOXELS = 200  # from which a frame of a covered view becomes a keyframe: 0.3 m2
MOST_MASKED = 0.6  # of a keyframe's pixels; one with more of them is of no use
LOOK_AGAIN_NS = 300_000_000
NOVEL_SHARE = 0.03
GROW_PIXELS = 4


class MovedThings:
    """Looks through new depth images for what is gone.

    A voxel that later images see through loses its observations (``field.carving``): views and
    surfaces show it no longer. Keyframes that still show it would bring it back, so their pixels
    whose surface lies where voxels were cleared are masked, one keyframe for each training step.
    """

    def __init__(self, voxel_m: float) -> None:
        self.cleared = VoxelGrid(voxel_m)
        self.forgotten_voxels = 0
        self._to_search: list[int] = []
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
        view = (frame.depth, intrinsics, frame.T_world_camera)
        readings_gone = len(carve(voxels, *view))
        gone = carve(reach, *view)
        if len(gone) < FEWEST_VOXELS:
            return False
        self.cleared.insert(gone)
        self._to_search = store.serials[: store.count].tolist()
        self.forgotten_voxels += len(gone)
        return readings_gone >= CHANGED_VOXELS

    def search_one(self, store: KeyframeStore, reach: VoxelGrid) -> None:
        """Mask what is gone in the next keyframe that has not been searched since."""
        while self._to_search:
            slots = np.flatnonzero(store.serials[: store.count] == self._to_search.pop())
            if len(slots):
                self._search(store, int(slots[0]), reach)
                return

    def _search(self, store: KeyframeStore, slot: int, reach: VoxelGrid) -> None:
        width, height = store.cameras[2][slot]
        pixels = int(width * height)
        gone = np.zeros(pixels, np.uint8)
        _find_gone(
            store.images[1][slot, :pixels], store.cameras[0][slot],
            store.cameras[1][slot].astype(np.float64), int(width),
            (self.cleared.voxel_m, self.cleared.index, self.cleared.low, self.cleared.counts),
            (reach.voxel_m, reach.index, reach.low, reach.counts), gone,
        )  # fmt: skip
        window = np.ones((2 * GROW_PIXELS + 1,) * 2, np.uint8)
        gone = cv2.dilate(gone.reshape(height, width), window).reshape(-1) > 0
        store.mask(slot, gone)
        if store.count > 1 and store.masked_share(slot) > MOST_MASKED:
            store.remove(slot)


def novel_share(frame: Frame, reach: VoxelGrid, stride: int = 8) -> float:
    """Share of a frame's readings that lie more than a voxel from all surfaces seen before.

    Surfaces at a flat angle leave voxels out between the pixels, so neighbours count, too.
    """
    depth = frame.depth[::stride, ::stride]
    points = frame.camera.backproject(frame.depth)[::stride, ::stride][depth > 0]
    points = transform_points(frame.T_world_camera, points).astype(np.float32)
    if not len(points):
        return 0.0
    steps = np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)]).astype(np.float32)
    near = [reach.lookup(points + step * np.float32(reach.voxel_m)) for step in steps]
    return float((np.max(near, axis=0) == 0).mean())


@njit(inline="always")
def _count(x, y, z, grid):
    voxel, index, low, counts = grid
    i, j, k = int(np.floor(x / voxel)), int(np.floor(y / voxel)), int(np.floor(z / voxel))
    a, b, c = (i >> 3) - low[0], (j >> 3) - low[1], (k >> 3) - low[2]
    if 0 <= a < index.shape[0] and 0 <= b < index.shape[1] and 0 <= c < index.shape[2]:
        slot = index[a, b, c]
        if slot >= 0:
            return counts[slot, ((k & 7) << 6) | ((j & 7) << 3) | (i & 7)]
    return np.uint16(0)


@njit(nogil=True, cache=True, error_model="numpy")
def _find_gone(stored, intrinsics, pose, width, cleared, reach, gone):
    """Set ``gone`` where a pixel's surface lies in a voxel that was cleared and still is."""
    fx, fy, cx, cy = intrinsics
    for n in range(len(stored)):
        z = (stored[n] & (GUESSED - 1)) * DEPTH_UNIT_M
        if z == 0:
            continue
        x, y = (n % width - cx) / fx * z, (n // width - cy) / fy * z
        u = pose[0, 3] + pose[0, 0] * x + pose[0, 1] * y + pose[0, 2] * z
        v = pose[1, 3] + pose[1, 0] * x + pose[1, 1] * y + pose[1, 2] * z
        w = pose[2, 3] + pose[2, 0] * x + pose[2, 1] * y + pose[2, 2] * z
        if _count(u, v, w, cleared) > 0 and _count(u, v, w, reach) == 0:
            gone[n] = 1
