"""Keyframes on a GPU: a copy of the store that takes over only what has changed."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.field.rays.keyframe_arrays import (
    DeviceCameras,
    DeviceContours,
    DeviceImages,
    KeyframeImages,
)
from semantic_field.mapping.keyframes.store import KeyframeStore

RESERVED_SLOTS = 64


class DeviceKeyframes:
    """The images and cameras of a store as tensors of one device.

    Room for some slots is reserved; it doubles when they are used up.

    Attributes:
        images, cameras, contours: as in the store; ``depths`` are int16 of the same bits.
    """

    def __init__(
        self, store: KeyframeStore, device: torch.device | str, reserve: int = RESERVED_SLOTS
    ) -> None:
        def empty(array: NDArray) -> Tensor:
            return torch.from_numpy(array[:0]).to(device)

        self.images = DeviceImages(*map(empty, _signed(store.images)))
        self.cameras = DeviceCameras(*map(empty, store.cameras))
        self.contours = DeviceContours(*map(empty, store.contours))
        self._serials = np.zeros(0, np.int64)
        self._make_room(min(reserve, store.capacity))

    @property
    def room(self) -> int:
        """Slots that fit without new memory."""
        return len(self._serials)

    def follow(self, store: KeyframeStore) -> None:
        """Copy the slots of the store that hold another keyframe than before, and all cameras."""
        count = store.count
        if count > self.room:
            self._make_room(min(max(2 * self.room, count), store.capacity))
        changed = np.flatnonzero(store.serials[:count] != self._serials[:count])
        for slot in changed.tolist():
            pairs = zip(self.images, _signed(store.images), strict=True)
            for copy, source in (*pairs, (self.contours.pixels, store.contours.pixels)):
                copy[slot].copy_(torch.from_numpy(source[slot]))
        self._serials[changed] = store.serials[changed]
        pairs = zip(self.cameras, store.cameras, strict=True)
        for copy, source in (*pairs, (self.contours.counts, store.contours.counts)):
            copy[:count].copy_(torch.from_numpy(source[:count]))

    def is_behind(self, store: KeyframeStore) -> bool:
        """Whether the store holds keyframes that are not here."""
        count = store.count
        return count > self.room or not np.array_equal(store.serials[:count], self._serials[:count])

    def _make_room(self, slots: int) -> None:
        def grown(old: Tensor) -> Tensor:
            new = old.new_zeros(slots, *old.shape[1:])
            new[: len(old)] = old
            return new

        self.images = DeviceImages(*map(grown, self.images))
        self.cameras = DeviceCameras(*map(grown, self.cameras))
        self.contours = DeviceContours(*map(grown, self.contours))
        serials = np.zeros(slots, np.int64)
        serials[: len(self._serials)] = self._serials
        self._serials = serials


def _signed(images: KeyframeImages) -> tuple[NDArray, ...]:
    """Torch calculates with int16, hardly with uint16: the same bits."""
    return images.colors, images.depths.view(np.int16), images.labels
