"""Baseline without a map: views are made by reprojecting the nearest recorded frames.

The ``NEAREST`` mapped frames by pose are splatted into the target view with a z-buffer, their
colours averaged, and their labels decided by a vote. Pixels that no frame reaches are copied from
the nearest pixel that is reached.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.data.sources import FrameSource, poses_of
from semantic_field.field.views.blended_view import filled
from semantic_field.field.views.rendering import RenderedView
from semantic_field.frames import VOID_LABEL, Frame
from semantic_field.geometry import Camera, invert_transform, pose_distances

NEAREST = 8  # frames per view
SAME_SURFACE = 0.03  # relative depth difference up to which two readings are of one surface
CLOSE_M = 0.05  # added to a frame's distance before its weight is taken
MOST_LABELS = 4  # number of classes for which a pixel stores votes
CACHED_FRAMES = 4 * NEAREST  # neighbouring views share most of their frames
_jit = njit(nogil=True, cache=True, error_model="numpy")


@dataclass(frozen=True)
class ReprojectedView:
    """A view made of recorded frames.

    Attributes:
        view: its images; in holes depth and confidence are 0, colour and label are filled in.
        holes: share (0..1) of the pixels that no frame reaches.
    """

    view: RenderedView
    holes: float


class Reprojection:
    """Predicts views from the mapped frames alone.

    Args:
        frames: frames from which the map was made, with the labels that it was given.
        nearest: number of frames per view.
    """

    def __init__(self, frames: FrameSource, nearest: int = NEAREST) -> None:
        self._nearest = nearest
        self._frame = lru_cache(CACHED_FRAMES)(frames.__getitem__)
        self._poses = np.asarray(poses_of(frames))

    def __call__(self, camera: Camera, T_world_camera: NDArray[np.float64]) -> ReprojectedView:
        """Return the view of a camera at a pose (4, 4) in the world frame of the recording."""
        distances = pose_distances(self._poses, T_world_camera)
        chosen = np.argsort(distances, kind="stable")[: self._nearest]
        return reprojected([self._frame(i) for i in chosen.tolist()], camera, T_world_camera)


def reprojected(
    frames: Sequence[Frame], camera: Camera, T_world_camera: NDArray[np.float64]
) -> ReprojectedView:
    """Return the view of a camera at a pose (4, 4) that some frames show; near ones weigh more."""
    images = _Images(camera.height, camera.width)
    for collect in (False, True):  # the z-buffer needs all frames first
        for frame in frames:
            T_target_frame = invert_transform(T_world_camera) @ frame.T_world_camera
            distance = pose_distances(frame.T_world_camera, T_world_camera)
            images.splat(frame, camera, T_target_frame, float(1 / (CLOSE_M + distance)), collect)
    return images.view()


class _Images:
    """Images of a view in progress: z-buffer, sums of colours, and votes for labels."""

    def __init__(self, height: int, width: int) -> None:
        self._depth = np.full((height, width), np.inf, np.float32)
        self._sums = np.zeros((height, width, 5), np.float32)  # weight, depth, colour
        self._labels = np.full((height, width, MOST_LABELS), VOID_LABEL, np.int32)
        self._votes = np.zeros((height, width, MOST_LABELS), np.float32)

    def splat(
        self,
        frame: Frame,
        camera: Camera,
        T_target_frame: NDArray[np.float64],
        weight: float,
        collect: bool,
    ) -> None:
        """Splat a frame: first for the z-buffer, then (``collect``) for colours and labels."""
        labels = np.zeros((0, 0), np.int32) if frame.labels is None else frame.labels
        _splat(
            frame.depth, frame.color, labels, frame.camera.intrinsics, T_target_frame,
            camera.intrinsics, np.float32(weight), collect, SAME_SURFACE,
            self._depth, self._sums, self._labels, self._votes,
        )  # fmt: skip

    def view(self) -> ReprojectedView:
        """Return the view made of all frames so far."""
        known = self._sums[..., 0] > 0
        means = self._sums[..., 1:] / np.maximum(self._sums[..., :1], 1e-12)
        best = self._votes.argmax(axis=2)[..., None]
        label = np.take_along_axis(self._labels, best, axis=2)[..., 0]
        labelled = np.asarray(self._votes.any(axis=2))
        view = RenderedView(
            color=filled(np.rint(means[..., 1:]).astype(np.uint8), known),
            depth=np.where(known, means[..., 0], 0).astype(np.float32),
            normal=np.zeros((*known.shape, 3), np.float32),
            label=filled(label, labelled),
            confidence=known.astype(np.float32),
        )
        return ReprojectedView(view, 1.0 - float(known.mean()))


@_jit
def _splat(
    depth, color, labels, intrinsics, T, target, weight, collect, tolerance,
    nearest, sums, kept, votes,
):  # fmt: skip
    """Fill the z-buffer, or with ``collect`` add up colours and votes of readings near it."""
    height, width = nearest.shape
    for v in range(depth.shape[0]):
        y = (v - intrinsics[3]) / intrinsics[1]
        for u in range(depth.shape[1]):
            z = depth[v, u]
            if not z > 0:
                continue
            x = (u - intrinsics[2]) / intrinsics[0]
            far = (T[2, 0] * x + T[2, 1] * y + T[2, 2]) * z + T[2, 3]
            if far <= 0.01:
                continue
            px = ((T[0, 0] * x + T[0, 1] * y + T[0, 2]) * z + T[0, 3]) / far * target[0] + target[2]
            py = ((T[1, 0] * x + T[1, 1] * y + T[1, 2]) * z + T[1, 3]) / far * target[1] + target[3]
            if not (-0.5 <= px < width - 0.5 and -0.5 <= py < height - 0.5):
                continue
            i, j = int(np.rint(py)), int(np.rint(px))
            if not collect:
                nearest[i, j] = min(nearest[i, j], far)
                continue
            if far > nearest[i, j] * (1 + tolerance):
                continue
            sums[i, j, 0] += weight
            sums[i, j, 1] += weight * far
            for channel in range(3):
                sums[i, j, 2 + channel] += weight * color[v, u, channel]
            if labels.size and labels[v, u] >= 0:
                _vote(kept, votes, i, j, labels[v, u], weight)


@_jit
def _vote(kept, votes, i, j, label, weight):
    """Add ``weight`` to the votes for a class; classes beyond ``MOST_LABELS`` are ignored."""
    for place in range(kept.shape[2]):
        if kept[i, j, place] == label or kept[i, j, place] < 0:
            kept[i, j, place] = label
            votes[i, j, place] += weight
            return
