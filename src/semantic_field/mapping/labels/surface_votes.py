"""Votes of keyframes for the classes of the surface, kept up to date keyframe by keyframe.

Each labelled pixel with a depth reading votes at the place of that reading, with the confidence of
its label. Together, all pixels of
a keyframe in one voxel have less than one vote, the closer to one the better the keyframe resolves
the voxel. A new keyframe touches only the voxels that it sees, and votes of a keyframe whose labels
change, or that is removed, are taken back.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.field.rays.sampling import DEPTH_UNIT_M, GUESSED
from semantic_field.field.surface.vote_table import (
    CLASSES,
    NONE,
    UNITS,
    VoteTable,
    empty_places,
    free_or_found,
    vote,
    voxel_key,
)
from semantic_field.geometry import moved_and_turned
from semantic_field.mapping.keyframes.store import KeyframeStore

CELL_M = 0.02
BYTES_PER_VOXEL = 36  # of a table, with its hash table
ACROSS = 320  # pixels of an image row that vote
HALF_SEEN = 1.0  # weight of pixels in a voxel from which a keyframe has half a vote
CLEAR_M = 2.5  # distance at which a reading's weight is halved
STEP_SHARE = 0.03  # relative change of depth to a neighbour from which on it is an edge
AT_EDGE = 0.1  # factor for pixels next to a depth discontinuity
AT_BORDER = 0.25  # factor for pixels next to another label
MOVED_M, TURNED = 0.004, 0.003  # change of a pose (metres, radians) at which votes are renewed
_jit = njit(nogil=True, cache=True, error_model="numpy")
_inline = njit(inline="always", error_model="numpy")


@_inline
def _weight(stored, labels, width, height, u, v, focal):
    """Weight of a pixel's vote, 0..1, by distance, incidence, depth edges and label borders."""
    n = v * width + u
    depth = np.float32(stored[n])
    weight = np.float32(1)
    slope = np.float32(0)
    for axis in range(2):
        step = 1 if axis == 0 else width
        least = np.float32(1e9)
        for side in range(-1, 2, 2):
            place = (u if axis == 0 else v) + side
            if not 0 <= place < (width if axis == 0 else height):
                continue
            other = n + side * step
            if labels[other] != labels[n]:
                weight = min(weight, np.float32(AT_BORDER))
            rise = abs(np.float32(stored[other] & (GUESSED - 1)) - depth) / depth
            if rise > STEP_SHARE:
                weight = min(weight, np.float32(AT_EDGE))
            least = min(least, rise)
        slope += least * least
    far = depth * np.float32(DEPTH_UNIT_M / CLEAR_M)
    cosine = np.float32(1) / np.sqrt(np.float32(1) + slope * focal * focal)
    return weight * cosine / (np.float32(1) + far * far)


@_inline
def _voxel_of(pose, x, y, z, cell_m):
    """Key of the voxel of the point z [x y 1] of a camera."""
    a = int(np.floor((pose[0, 3] + z * (pose[0, 0] * x + pose[0, 1] * y + pose[0, 2])) / cell_m))
    b = int(np.floor((pose[1, 3] + z * (pose[1, 0] * x + pose[1, 1] * y + pose[1, 2])) / cell_m))
    c = int(np.floor((pose[2, 3] + z * (pose[2, 0] * x + pose[2, 1] * y + pose[2, 2])) / cell_m))
    return voxel_key(a, b, c)


@_jit
def _gather(stored, labels, doubts, width, height, intrinsics, pose, cell_m, stride, places, own):
    """Fill ``own`` (keys, rows, weights) with the voxels that one keyframe sees.

    Only every ``stride``-th pixel and row votes.

    Args:
        doubts: doubt in each label, 0..255; empty = none.
        places: empty hash table with room for all voxels.
    Returns:
        The number of voxels.
    """
    fx, fy, cx, cy = intrinsics
    keys, rows, weights = own
    used = 0
    for v in range(stride // 2, height, stride):
        y = (v - cy) / fy
        for u in range(stride // 2, width, stride):
            n = v * width + u
            if labels[n] < 0 or stored[n] == 0 or stored[n] & GUESSED:
                continue
            key = _voxel_of(pose, (u - cx) / fx, y, stored[n] * DEPTH_UNIT_M, cell_m)
            place = free_or_found(key, places, keys)
            if places[place] == NONE:
                keys[used], places[place] = key, used
                weights[used] = 0
                used += 1
            weight = _weight(stored, labels, width, height, u, v, np.float32(fx))
            if len(doubts):
                weight *= np.float32(255 - doubts[n]) / np.float32(255)
            vote(rows, weights, places[place], labels[n], weight)
    return used


@_jit
def _count(voxels, own_rows, own_weights, sign, rows, votes):
    """Add the votes of one keyframe, or take them back (``sign`` -1)."""
    for n in range(len(voxels)):
        if voxels[n] == NONE:
            continue
        total = np.float32(HALF_SEEN)
        for place in range(CLASSES):
            total += own_weights[n, place]
        for place in range(CLASSES):
            units = int(np.rint(UNITS * own_weights[n, place] / total))
            if units > 0:
                vote(rows, votes, voxels[n], own_rows[n, place], sign * units)


class SurfaceVotes:
    """The votes of all keyframes of a store.

    Args:
        memory_bytes: limit; beyond it, votes in further voxels are not counted.

    Attributes:
        version: increases with every change of the votes.
    """

    def __init__(self, memory_bytes: int) -> None:
        self.table = VoteTable(CELL_M, memory_bytes // BYTES_PER_VOXEL)
        self.version = 0
        self._store: KeyframeStore | None = None
        self._counted: dict[int, NDArray[np.float32]] = {}  # poses of the votes, by identity
        self._refused: dict[int, int] = {}  # serials of keyframes without votes, by identity

    def count(self, store: KeyframeStore, most: int | None = None) -> None:
        """Count the votes of keyframes that are new or have changed.

        Args:
            most: largest number of keyframes counted now; None = all.
        """
        if store is not self._store:
            self._store = store
            store.tell_changes(self._before_change)
        for slot in self._waiting(store)[:most]:
            identity = int(store.identities[slot])
            if identity in self._counted:
                self._take_back(slot)
            pose = store.cameras.poses[slot].copy()
            if self._add(slot, pose, 1):
                self._counted[identity] = pose
            else:
                self._refused[identity] = int(store.serials[slot])

    def _waiting(self, store: KeyframeStore) -> list[int]:
        """Return the slots of keyframes whose votes are not counted, or from another pose."""
        found = []
        for slot, identity in enumerate(store.identities[: store.count].tolist()):
            pose = self._counted.get(identity)
            if pose is None:
                if self._refused.get(identity) != store.serials[slot]:
                    found.append(slot)
            elif not np.array_equal(pose, store.cameras.poses[slot]):
                moved, turned = moved_and_turned(pose[None], store.cameras.poses[slot])
                if moved[0] > MOVED_M or turned[0] > TURNED:
                    found.append(slot)
        return found

    def _before_change(self, slot: int) -> None:
        """Take back the votes of a keyframe whose labels will change, or that will be removed."""
        assert self._store is not None
        identity = int(self._store.identities[slot])
        self._refused.pop(identity, None)
        if identity in self._counted:
            self._take_back(slot)

    def _take_back(self, slot: int) -> None:
        assert self._store is not None
        self._add(slot, self._counted.pop(int(self._store.identities[slot])), -1)

    def _add(self, slot: int, pose: NDArray[np.float32], sign: int) -> bool:
        """Add the votes of a keyframe, or take them back; returns whether it has any."""
        store = self._store
        assert store is not None
        width, height = store.cameras.sizes[slot].tolist()
        stride = max(1, width // ACROSS)
        most = -(-width // stride) * -(-height // stride)
        own = (
            np.empty(most, np.int64),
            np.empty((most, CLASSES), np.int16),
            np.empty((most, CLASSES), np.float32),
        )
        intrinsics = tuple(float(value) for value in store.cameras.intrinsics[slot])
        doubts = np.zeros(0, np.uint8) if store.doubts is None else store.doubts[slot]
        used = _gather(
            store.images.depths[slot], store.images.labels[slot], doubts, width, height, intrinsics,
            pose.astype(np.float64), CELL_M, stride, empty_places(most), own,
        )  # fmt: skip
        if used:
            voxels = self.table.places_of(own[0][:used])
            _count(voxels, own[1][:used], own[2][:used], sign, self.table.rows, self.table.votes)
            self.version += 1
        return used > 0

    def begin_with(self, table: VoteTable) -> None:
        """Start from stored votes, whose keyframes are not in memory; a copy is made of them."""
        copied = table.copy()
        copied.most = self.table.most
        self.table = copied
        self.version += 1

    def relabel(self, rows: NDArray[np.int16]) -> None:
        """Replace every class row r of the votes by ``rows[r]``, -1 = none.

        To be called after ``KeyframeStore.relabel``, so that only votes are left whose keyframes
        are not in memory.
        """
        kept, votes = self.table.rows[: len(self.table)], self.table.votes[: len(self.table)]
        new = np.append(rows, np.int16(-1))[kept]
        votes[new < 0] = 0
        kept[:] = np.maximum(new, 0)
        self.version += 1

    def memory_bytes(self) -> int:
        return self.table.memory_bytes()
