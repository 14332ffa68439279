"""Arrays of K keyframes with space for P pixels each, from which rays are drawn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

DEPTH_UNIT_M = 0.0005
GUESSED = 1 << 15  # bit of a stored depth: filled in, not measured


class KeyframeImages(NamedTuple):
    """Pixels of the keyframes in row-major order, on the host.

    Attributes:
        colors: uint8 (K, P, 3), RGB.
        depths: uint16 (K, P), z-depth in ``DEPTH_UNIT_M``, 0 = unknown; the bit ``GUESSED`` is
            set where a hole was filled.
        labels: int16 (K, P), row of the label head, -1 = void, ``MASKED`` = not used for training.
    """

    colors: NDArray[np.uint8]
    depths: NDArray[np.uint16]
    labels: NDArray[np.int16]

    def at(self, slots: slice | NDArray[np.int64]) -> KeyframeImages:
        """Return the images of some keyframes: views of the arrays for a slice, else copies."""
        return KeyframeImages(self.colors[slots], self.depths[slots], self.labels[slots])


class KeyframeCameras(NamedTuple):
    """Cameras and poses of the keyframes, on the host.

    Attributes:
        intrinsics: float32 (K, 4), fx fy cx cy in pixels.
        poses: float32 (K, 4, 4), ``T_world_camera`` in map coordinates, metres.
        sizes: int64 (K, 2), width and height in pixels.
    """

    intrinsics: NDArray[np.float32]
    poses: NDArray[np.float32]
    sizes: NDArray[np.int64]

    def at(self, slots: slice | NDArray[np.int64]) -> KeyframeCameras:
        """Return the cameras of some keyframes, see ``KeyframeImages.at``."""
        return KeyframeCameras(self.intrinsics[slots], self.poses[slots], self.sizes[slots])


class KeyframeContours(NamedTuple):
    """Pixels next to depth discontinuities, on the host.

    Attributes:
        pixels: int32 (K, P // 4), pixel numbers.
        counts: int64 (K,), number of pixels of each keyframe; the rest of its row is unused.
    """

    pixels: NDArray[np.int32]
    counts: NDArray[np.int64]


class DeviceImages(NamedTuple):
    """``KeyframeImages`` as tensors on one device; ``depths`` are int16 with the same bits."""

    colors: Tensor
    depths: Tensor
    labels: Tensor


class DeviceCameras(NamedTuple):
    """``KeyframeCameras`` as tensors on one device."""

    intrinsics: Tensor
    poses: Tensor
    sizes: Tensor


class DeviceContours(NamedTuple):
    """``KeyframeContours`` as tensors on one device."""

    pixels: Tensor
    counts: Tensor
