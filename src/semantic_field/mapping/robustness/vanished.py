"""Removal of objects that have moved away: from the voxel grids and from keyframe pixels."""

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

FEWEST_VOXELS = 40  # fewer cleared voxels at once are noise, and no keyframe is searched for them
CHANGED_VOXELS = 200  # cleared voxels (0.3 m2) from which on a frame becomes a keyframe in any case
MOST_MASKED = 0.6  # share of masked pixels above which a keyframe is removed
LOOK_AGAIN_NS = 300_000_000
NOVEL_SHARE = 0.03
GROW_PIXELS = 4
LOOKED_AT = 8  # keyframes tested per training step, of which at most one is searched


class MovedThings:
    """Removes objects that later depth images see through, and masks transient objects.

    Voxels that later images see through lose their observations (``mapping.robustness.carving``),
    so that they disappear from views and surfaces. Keyframes that still show them would bring them
    back, so their pixels with a surface in cleared voxels are masked, one keyframe per training
    step; so are pixels that see through accepted new surfaces (``mapping.robustness.transient``).

    Attributes:
        cleared: grid of all voxels that were ever cleared.
        forgotten_voxels: number of cleared observed voxels so far.
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
        """Return whether to check a frame from a covered view: one every ``LOOK_AGAIN_NS``."""
        if self._looked_ns is None or abs(stamp_ns - self._looked_ns) >= LOOK_AGAIN_NS:
            self._looked_ns = stamp_ns
            return True
        return False

    def look(self, frame: Frame, voxels: VoxelGrid, reach: VoxelGrid, store: KeyframeStore) -> bool:
        """Carve both grids by a frame's depth; returns True if many voxels were cleared."""
        camera = frame.camera
        intrinsics = camera.intrinsics
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
        """Mask transient objects in a new keyframe; returns False if it was removed as useless."""
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
        """Mask removed objects in the next keyframe that shows them; called every training step."""
        for _ in range(min(LOOKED_AT, len(self._to_search))):
            slots = np.flatnonzero(store.serials[: store.count] == self._to_search.pop())
            if len(slots) and self._search(store, int(slots[0]), reach):
                break
        if not self._to_search:
            self._gone, self._appeared = [], []

    def _search(self, store: KeyframeStore, slot: int, reach: VoxelGrid) -> bool:
        """Mask removed objects, and free space at new ones; returns whether work was done."""
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
    """Return the share of a frame's readings that are more than a voxel from mapped surfaces.

    Neighbouring voxels count as mapped as well, as surfaces at grazing angles leave gaps.
    """
    depth = frame.depth[::stride, ::stride]
    v, u = np.nonzero(depth > 0)
    z, camera = depth[v, u], frame.camera
    points = camera.lift(stride * u, stride * v, z)
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
    """Set ``gone`` for pixels whose surface is in a voxel that was cleared and is still empty.

    Only every second pixel of every second row is tested.
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
