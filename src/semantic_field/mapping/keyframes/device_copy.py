"""Incremental copy of the keyframe store on a GPU."""

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
from semantic_field.kernels.device_memory import memory_for
from semantic_field.mapping.keyframes.store import KeyframeStore

RESERVED_SLOTS = 64
MEMORY_REMEDY = (
    "lower mapping.memory_budget_mb (fewer keyframes) or mapping.max_image_width (smaller ones), "
    "end what else uses the device, or set mapping.device to cpu"
)


class DeviceKeyframes:
    """The images and cameras of a store as tensors on one device.

    Memory is reserved for some slots and doubled when they are used up.

    Attributes:
        images, cameras, contours: as in the store; ``depths`` are int16 of the same bits.
        doubts: as in the store; None if it has none.
    Raises:
        DeviceMemoryError: if the device has not enough memory, also by ``follow``.
    """

    def __init__(
        self, store: KeyframeStore, device: torch.device | str, reserve: int = RESERVED_SLOTS
    ) -> None:
        def empty(array: NDArray) -> Tensor:
            return torch.from_numpy(array[:0]).to(device)

        self.images = DeviceImages(*map(empty, _signed(store.images)))
        self.cameras = DeviceCameras(*map(empty, store.cameras))
        self.contours = DeviceContours(*map(empty, store.contours))
        self.doubts: Tensor | None = None
        self._serials = np.zeros(0, np.int64)
        self._copied = torch.cuda.Event() if torch.device(device).type == "cuda" else None
        self._make_room(min(reserve, store.capacity))

    @property
    def room(self) -> int:
        """Number of reserved slots."""
        return len(self._serials)

    def follow(self, store: KeyframeStore) -> None:
        """Copy the slots that have changed since the last call, and all cameras."""
        count = store.count
        if count > self.room:
            self._make_room(min(max(2 * self.room, count), store.capacity))
        if store.doubts is not None and self.doubts is None:
            with memory_for(f"the doubts of {self.room} keyframes", MEMORY_REMEDY):
                self.doubts = torch.zeros(
                    self.room, store.pixels, dtype=torch.uint8, device=self.images.labels.device
                )
        changed = np.flatnonzero(store.serials[:count] != self._serials[:count])
        for slot in changed.tolist():
            pairs = zip(self.images, _signed(store.images), strict=True)
            for copy, source in (*pairs, (self.contours.pixels, store.contours.pixels)):
                copy[slot].copy_(torch.from_numpy(source[slot]))
            if self.doubts is not None and store.doubts is not None:
                self.doubts[slot].copy_(torch.from_numpy(store.doubts[slot]))
        self._serials[changed] = store.serials[changed]
        pairs = zip(self.cameras, store.cameras, strict=True)
        for copy, source in (*pairs, (self.contours.counts, store.contours.counts)):
            copy[:count].copy_(torch.from_numpy(source[:count]))
        if self._copied is not None:
            self._copied.record()

    def wait(self) -> None:
        """Let the current stream wait until all copies are finished; the host does not wait."""
        if self._copied is not None:
            torch.cuda.current_stream(self.images.labels.device).wait_event(self._copied)

    def is_behind(self, store: KeyframeStore) -> bool:
        """Return whether the store has keyframes or changes that are not copied yet."""
        count = store.count
        return count > self.room or not np.array_equal(store.serials[:count], self._serials[:count])

    def _make_room(self, slots: int) -> None:
        def grown(old: Tensor) -> Tensor:
            new = old.new_zeros(slots, *old.shape[1:])
            new[: len(old)] = old
            return new

        with memory_for(f"copies of {slots} keyframes", MEMORY_REMEDY):
            images, cameras, contours = (
                [grown(array) for array in arrays]
                for arrays in (self.images, self.cameras, self.contours)
            )
            self.doubts = None if self.doubts is None else grown(self.doubts)
        self.images, self.cameras = DeviceImages(*images), DeviceCameras(*cameras)
        self.contours = DeviceContours(*contours)
        serials = np.zeros(slots, np.int64)
        serials[: len(self._serials)] = self._serials
        self._serials = serials


def _signed(images: KeyframeImages) -> tuple[NDArray, ...]:
    """View depths as int16 (same bits), as torch hardly supports uint16."""
    return images.colors, images.depths.view(np.int16), images.labels
