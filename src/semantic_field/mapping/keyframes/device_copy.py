"""Keyframes on a GPU: a copy of the store that takes over only what has changed."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from semantic_field.mapping.keyframes.store import KeyframeStore

RESERVED_SLOTS = 64


class DeviceKeyframes:
    """The images and cameras of a store as tensors of one device.

    Room for some slots is reserved; it doubles when they are used up.

    Attributes:
        images: colours uint8 (K, P, 3), depths int16 (K, P) with the bits of the store's uint16,
            label rows int16 (K, P).
        cameras, contours: as in the store.
    """

    def __init__(
        self, store: KeyframeStore, device: torch.device | str, reserve: int = RESERVED_SLOTS
    ) -> None:
        self._device = torch.device(device)
        self.images: tuple[Tensor, ...] = ()
        self.cameras: tuple[Tensor, ...] = ()
        self.contours: tuple[Tensor, ...] = ()
        self._serials = np.zeros(0, np.int64)
        self._make_room(store, min(reserve, store.capacity))

    @property
    def room(self) -> int:
        """Slots that fit without new memory."""
        return len(self._serials)

    def follow(self, store: KeyframeStore) -> None:
        """Copy the slots of the store that hold another keyframe than before, and all cameras."""
        count = store.count
        if count > self.room:
            self._make_room(store, min(max(2 * self.room, count), store.capacity))
        changed = np.flatnonzero(store.serials[:count] != self._serials[:count])
        for slot in changed.tolist():
            pairs = zip(self.images, _signed(store.images), strict=True)
            for target, source in (*pairs, (self.contours[0], store.contours[0])):
                target[slot].copy_(torch.from_numpy(source[slot]))
        self._serials[changed] = store.serials[changed]
        pairs = zip(self.cameras, store.cameras, strict=True)
        for target, source in (*pairs, (self.contours[1], store.contours[1])):
            target[:count].copy_(torch.from_numpy(source[:count]))

    def is_behind(self, store: KeyframeStore) -> bool:
        """Whether the store holds keyframes that are not here."""
        count = store.count
        return count > self.room or not np.array_equal(store.serials[:count], self._serials[:count])

    def _make_room(self, store: KeyframeStore, slots: int) -> None:
        def longer(sources: tuple, old: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            rooms = []
            for i, source in enumerate(sources):
                kind = torch.from_numpy(source[:0]).dtype
                room = torch.zeros(slots, *source.shape[1:], dtype=kind, device=self._device)
                if old:
                    room[: len(old[i])] = old[i]
                rooms.append(room)
            return tuple(rooms)

        self.images = longer(_signed(store.images), self.images)
        self.cameras = longer(store.cameras, self.cameras)
        self.contours = longer(store.contours, self.contours)
        serials = np.zeros(slots, np.int64)
        serials[: len(self._serials)] = self._serials
        self._serials = serials


def _signed(images: tuple) -> tuple:
    """Torch calculates with int16, hardly with uint16: the same bits."""
    colors, depths, labels = images
    return colors, depths.view(np.int16), labels
