"""Keyframe store: images in flat arrays with a memory limit; replaces the most redundant views."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from weakref import WeakMethod

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.field.rays.keyframe_arrays import (
    KeyframeCameras,
    KeyframeContours,
    KeyframeImages,
)
from semantic_field.field.rays.sampling import DEPTH_UNIT_M, GUESSED, MASKED
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, moved_and_turned, pose_distances
from semantic_field.mapping.keyframes.depth_packing import contour_pixels, pack_depth
from semantic_field.mapping.keyframes.labelled_pixels import LabelledPixels
from semantic_field.mapping.keyframes.readings import surface_points
from semantic_field.mapping.keyframes.redundancy import ViewNeighbours

BYTES_PER_PIXEL = 8  # colour 3, depth 2, label 2, and contours: 4 for one in four at most
_serials = itertools.count(1)
LEARNT: dict[str, tuple[tuple[int, ...], float | tuple[float, ...]]] = {
    "given_pose": ((4, 4), 0.0),  # T_world_camera as received
    "pose": ((6,), 0.0),  # its correction: rotation vector (rad), translation (m), map axes
    "pose_moments": ((2, 6), 0.0),
    "pose_steps": ((), 0.0),
    "exposure": ((3, 2), (1.0, 0.0)),  # gain and bias of each channel
    "exposure_sums": ((3, 4), 0.0),
    "exposure_weight": ((), 0.0),
    "error": ((), 0.0),  # running mean of its rays' colour errors, 0..1
}
"""Shape and initial value of the float64 data that training stores for each keyframe."""


class KeyframeStore:
    """Keyframes in slots of equal size, as flat arrays that the sampler reads directly.

    The arrays are reserved once for ``budget_mb``; the operating system allocates memory only as
    slots are filled. When all slots are used, the keyframe whose view is the most similar to
    another one is replaced, regardless of age.

    Attributes:
        images: ``colors``, ``depths`` and ``labels`` of all slots.
        cameras: ``intrinsics``, ``poses`` and ``sizes`` of all slots.
        contours: ``pixels`` next to depth discontinuities, and their ``counts``.
        visits: float64 (K,), rays drawn from each keyframe so far.
        serials: int64 (K,), unique number of each keyframe's contents; renewed when they change.
        identities: int64 (K,), unique number of each keyframe; never changes.
        learnt: data stored by training for each keyframe, see ``LEARNT``.
        doubts: uint8 (K, P), doubt in each label, 0 = none, see ``Segmentation``; None while no
            label was ever doubted.
        labelled: index of the labelled pixels.
        views: redundancy of the keyframes.
    """

    def __init__(
        self,
        width: int,
        height: int,
        budget_mb: int,
        depth_range_m: tuple,
        drop_veils: bool = False,
    ) -> None:
        self.pixels = width * height
        self.size = (width, height)
        self.depth_range_m, self._drop_veils = depth_range_m, drop_veils
        capacity = max(2, budget_mb * (1 << 20) // (self.pixels * BYTES_PER_PIXEL))
        self.images = KeyframeImages(
            np.zeros((capacity, self.pixels, 3), np.uint8),
            np.zeros((capacity, self.pixels), np.uint16),
            np.zeros((capacity, self.pixels), np.int16),
        )
        self.cameras = KeyframeCameras(
            np.zeros((capacity, 4), np.float32),
            np.zeros((capacity, 4, 4), np.float32),
            np.zeros((capacity, 2), np.int64),
        )
        self.contours = KeyframeContours(
            np.zeros((capacity, max(1, self.pixels // 4)), np.int32),
            np.zeros(capacity, np.int64),
        )
        self.stamps_ns, self.serials = np.zeros(capacity, np.int64), np.zeros(capacity, np.int64)
        self.identities = np.zeros(capacity, np.int64)
        self.visits = np.zeros(capacity)
        self.learnt = {name: np.zeros((capacity, *shape)) for name, (shape, _) in LEARNT.items()}
        self.doubts: NDArray[np.uint8] | None = None
        self.labelled = LabelledPixels()
        self._followers: list[WeakMethod] = []
        self._watchers: list[WeakMethod] = []
        self.views = ViewNeighbours(capacity)
        self.count = 0
        self.replaced = 0

    @property
    def capacity(self) -> int:
        return len(self.visits)

    @property
    def _poses(self) -> NDArray[np.float32]:
        return self.cameras.poses[: self.count]

    def tell_moves(self, follow: Callable[[int, int], None]) -> None:
        """Register a method that is called with source and target slot when a keyframe moves.

        Only a weak reference to its object is kept.
        """
        self._followers.append(WeakMethod(follow))

    def tell_changes(self, watch: Callable[[int], None]) -> None:
        """Register a method that is called with a slot before the keyframe in it changes.

        That is before its labels change, it is removed, or another one replaces it. Changes of its
        pose are not told. Only a weak reference to the method's object is kept.
        """
        self._watchers.append(WeakMethod(watch))

    def _will_change(self, slot: int) -> None:
        for watcher in self._watchers:
            if (watch := watcher()) is not None:
                watch(slot)

    def camera(self, slot: int) -> Camera:
        """Return the camera of a keyframe."""
        fx, fy, cx, cy = self.cameras.intrinsics[slot].tolist()
        width, height = self.cameras.sizes[slot].tolist()
        return Camera(fx, fy, cx, cy, width, height)

    def memory_bytes(self) -> int:
        """Return the bytes of the slots in use."""
        return self.count * self.pixels * (BYTES_PER_PIXEL + (self.doubts is not None))

    def is_new_view(
        self, T_world_camera: NDArray, translation_m: float, rotation_rad: float
    ) -> bool:
        """Return whether no keyframe is within both distances of this pose."""
        if self.count == 0:
            return True
        moved, turned = moved_and_turned(self._poses, T_world_camera)
        return bool(((moved >= translation_m) | (turned >= rotation_rad)).all())

    def add(self, frame: Frame, labels: NDArray[np.int16] | None) -> int:
        """Store a frame and return its slot; ``labels`` are rows of the label head, -1 = void."""
        fitted = self.fit(frame)
        if self.count < self.capacity:
            slot, self.count = self.count, self.count + 1
        else:
            slot = self.views.most_redundant(self._poses, fitted.T_world_camera)
            self.replaced += 1
            self._will_change(slot)
        camera = fitted.camera
        n = camera.width * camera.height
        colors, depths, rows = self.images
        colors[slot, :n] = fitted.color.reshape(n, 3)
        depths[slot, :n] = pack_depth(fitted.depth, self.depth_range_m, self._drop_veils).reshape(n)
        rows[slot, :n] = -1 if labels is None else _resized_labels(labels, camera).reshape(n)
        if self.doubts is not None:
            self.doubts[slot] = 0
        self.note_contours(slot, camera.width, camera.height)
        self.labelled.note(slot, rows[slot, :n])
        self.cameras.intrinsics[slot] = camera.fx, camera.fy, camera.cx, camera.cy
        self.cameras.poses[slot] = fitted.T_world_camera
        self.cameras.sizes[slot] = camera.width, camera.height
        self.stamps_ns[slot], self.visits[slot] = frame.stamp_ns, 0.0
        self.serials[slot] = self.identities[slot] = next(_serials)
        for name, (_, value) in LEARNT.items():
            self.learnt[name][slot] = value
        self.learnt["given_pose"][slot] = fitted.T_world_camera
        self.views.add(self._poses, slot)
        return slot

    def remove(self, slot: int) -> None:
        """Remove the keyframe in ``slot``; the last keyframe is moved into it."""
        self._will_change(slot)
        last = self.count - 1
        book = (self.stamps_ns, self.serials, self.identities, self.visits)
        doubts = () if self.doubts is None else (self.doubts,)
        kept = (*self.images, *self.cameras, *self.contours, *book, *self.learnt.values(), *doubts)
        for array in kept:
            array[slot] = array[last]
        if slot < last:
            self.labelled.move(last, slot)
            for follower in self._followers:
                if (follow := follower()) is not None:
                    follow(last, slot)
        else:
            self.labelled.forget(slot)
        self.count = last
        self.views.remove(self._poses, slot)

    def note_contours(self, slot: int, width: int, height: int) -> None:
        """Update the list of pixels next to depth discontinuities of a slot.

        Most rendering errors are at silhouettes, which few pixels show: training draws a share of
        its rays from these pixels.
        """
        stored = self.images.depths[slot, : width * height].reshape(height, width)
        found = contour_pixels(stored)
        found = found[self.images.labels[slot, found] != MASKED]
        room = self.contours.pixels.shape[1]
        found = found[:: max(1, -(-len(found) // room))]
        self.contours.pixels[slot, : len(found)] = found
        self.contours.counts[slot] = len(found)

    def mask(self, slot: int, gone: NDArray[np.bool_]) -> None:
        """Mask pixels (H * W,) of a keyframe, so that no rays are drawn from them any more."""
        labels = self.images.labels[slot, : len(gone)]
        gone = gone & (labels != MASKED)
        if gone.any():
            self._will_change(slot)
            labels[gone] = MASKED
            self.note_contours(slot, *self.cameras.sizes[slot].tolist())
            self._labels_changed(slot)

    def relabel(self, rows: NDArray[np.int16]) -> None:
        """Replace every label row r by ``rows[r]``, -1 = void."""
        for slot in range(self.count):
            labels = self.images.labels[slot, : self.cameras.sizes[slot].prod()]
            labelled = labels >= 0
            if labelled.any():
                self._will_change(slot)
                labels[labelled] = rows[labels[labelled]]
                self._labels_changed(slot)

    def set_labels(
        self,
        slot: int,
        pixels: NDArray[np.int64],
        rows: NDArray[np.int16],
        doubts: NDArray[np.uint8] | None = None,
    ) -> None:
        """Set the label rows (N,) of pixels (N,) of a keyframe, -1 = void.

        Args:
            doubts: (N,), doubt in each label; None = there is none.
        """
        self._will_change(slot)
        self.images.labels[slot, pixels] = rows
        if doubts is not None:
            self.doubted()[slot, pixels] = doubts
        elif self.doubts is not None:
            self.doubts[slot, pixels] = 0
        self._labels_changed(slot)

    def doubted(self) -> NDArray[np.uint8]:
        """Return ``doubts``, made if there are none yet."""
        if self.doubts is None:
            self.doubts = np.zeros(self.images.labels.shape, np.uint8)
        return self.doubts

    def _labels_changed(self, slot: int) -> None:
        self.labelled.note(slot, self.images.labels[slot, : self.cameras.sizes[slot].prod()])
        self.serials[slot] = next(_serials)

    def masked_share(self, slot: int) -> float:
        """Return the share of masked pixels of a keyframe."""
        return float((self.images.labels[slot, : self.cameras.sizes[slot].prod()] == MASKED).mean())

    def slots_changed(self) -> None:
        """Update all bookkeeping; to be called after slots were filled from outside."""
        self.serials[: self.count] = [next(_serials) for _ in range(self.count)]
        self.identities[: self.count] = self.serials[: self.count]
        self.views.reset(self._poses)
        for slot in range(self.count):
            self.labelled.note(slot, self.images.labels[slot, : self.cameras.sizes[slot].prod()])

    def fit(self, frame: Frame) -> Frame:
        """Return the frame, resized in proportion if it has more pixels than a slot."""
        camera = frame.camera
        shrink = (self.pixels / (camera.width * camera.height)) ** 0.5
        if shrink >= 1:
            return frame
        size = (max(1, int(side * shrink)) for side in (camera.width, camera.height))
        return frame.resized(*size)

    def surface(
        self, slot: int, stride: int, spacing_m: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        """Return map points (N, 3) of a keyframe, unit ray directions (N, 3) and a mask (N,) of
        filled-in depth; see ``surface_points``.

        Uses every ``stride``-th pixel, or smaller steps, even below a pixel, if the surface is so
        far away that points would be more than ``spacing_m`` apart. Pixels without depth, and
        masked ones, are left out.
        """
        width, height = self.cameras.sizes[slot]
        focal = self.cameras.intrinsics[slot, :2].min()
        stored = self.images.depths[slot, : width * height]
        stored = np.where(self.images.labels[slot, : width * height] == MASKED, 0, stored)
        stored = stored.reshape(height, width)
        farthest = np.percentile(stored[::4, ::4] & (GUESSED - 1), 95) * DEPTH_UNIT_M
        step = float(np.clip(spacing_m * focal / max(farthest, 0.1), 0.25, stride))
        return surface_points(stored, self.cameras.intrinsics[slot], self.cameras.poses[slot], step)

    def choose(
        self, rays: int, random: np.random.Generator, by_error: float = 0.0
    ) -> NDArray[np.int64]:
        """Draw slots (rays,) for rays: half uniformly, half favouring rarely visited keyframes.

        A share ``by_error`` of the rays is drawn in proportion to the keyframes' recent errors
        instead; the rest prevents that the other keyframes are forgotten.
        """
        count = self.count
        seldom = 1.0 / (self.visits[:count] + 0.05 * self.visits[:count].mean() + rays)
        chance = 0.5 / count + 0.5 * seldom / seldom.sum()
        error = self.learnt["error"][:count]
        if by_error and error.any():
            error = np.where(error > 0, error, error.max())  # unknown errors count as the largest
            chance = (1 - by_error) * chance + by_error * error / error.sum()
        slots = np.searchsorted(np.cumsum(chance), random.random(rays) * (1 - 1e-9))
        slots = np.minimum(slots, count - 1)
        self.visits[:count] += np.bincount(slots, minlength=count)
        return slots.astype(np.int64)

    def choose_labelled(
        self, rays: int, balance: float, random: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw slots and pixels (n,) of labelled pixels, see ``LabelledPixels.draw``."""
        slots, pixels = self.labelled.draw(rays, balance, random)
        self.visits[: self.count] += np.bincount(slots, minlength=self.count)
        return slots, pixels

    def apart(self, T_world_camera: NDArray) -> NDArray[np.float64]:
        """Return the distance (K,) of a view to every keyframe's, see ``distances``."""
        return pose_distances(self._poses, T_world_camera)


def _resized_labels(labels: NDArray[np.int16], camera: Camera) -> NDArray[np.int16]:
    if labels.shape == (camera.height, camera.width):
        return labels
    size = (camera.width, camera.height)
    resized = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized, dtype=np.int16)
