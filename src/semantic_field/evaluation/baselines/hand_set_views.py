"""Baseline with hand-set weights: a map's way of blending keyframes, on the depth of source frames.

``field.views.blended_view`` decides by set rules which keyframe is believed where. Here it gets the
source frames of a target as its keyframes, and the depth that they show together as the surface.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.evaluation.baselines.reprojection import reprojected
from semantic_field.field.rays.keyframe_arrays import KeyframeCameras, KeyframeImages
from semantic_field.field.views.blended_view import blended, filled
from semantic_field.field.views.rendering import RenderedView
from semantic_field.field.views.source_views import SourceViews, Target
from semantic_field.frames import Frame
from semantic_field.geometry import Camera
from semantic_field.mapping.keyframes.depth_packing import pack_depth

DEPTH_RANGE_M = (0.1, 15.0)
SMOOTHED = 5  # pixels; normals are of depth smoothed by a window of this size


def hand_blended(
    frames: Sequence[Frame],
    camera: Camera,
    T_world_camera: NDArray[np.float64],
    depth: NDArray[np.float32] | None = None,
    threads: int = 1,
) -> RenderedView:
    """Return the view of a camera at a pose (4, 4), blended from source frames by set rules.

    Args:
        frames: of one size, with or without labels.
        depth: target depth, float32 (H, W), metres, 0 = unknown: no colour of its own, confidence
            0. None = that of the reprojected frames, with holes filled from the nearest pixel.
    """
    first = reprojected(frames, camera, T_world_camera).view
    depth = filled(first.depth, first.depth > 0) if depth is None else depth
    normal = normals_of_depth(depth, camera, T_world_camera)
    target = Target(camera, T_world_camera, depth, normal)
    view = replace(first, depth=depth, normal=normal)
    return blended(view, target, source_views(frames), threads)


def source_views(frames: Sequence[Frame]) -> SourceViews:
    """Return frames of one size as the keyframes of a map, without learnt exposures.

    Raises:
        ValueError: if their sizes differ.
    """
    sizes = {(frame.camera.width, frame.camera.height) for frame in frames}
    if len(sizes) != 1:
        raise ValueError(f"expected frames of one size, got {sorted(sizes)}: resize them first")
    known = [np.unique(frame.labels) for frame in frames if frame.labels is not None]
    ids = np.unique(np.concatenate(known)) if known else np.zeros(0, np.int32)
    ids = ids[ids >= 0].astype(np.int32)
    K = len(frames)
    return SourceViews(
        images=KeyframeImages(
            np.stack([frame.color.reshape(-1, 3) for frame in frames]),
            np.stack([pack_depth(frame.depth, DEPTH_RANGE_M).ravel() for frame in frames]),
            np.stack([_rows(frame, ids).ravel() for frame in frames]),
        ),
        cameras=KeyframeCameras(
            np.stack([frame.camera.intrinsics for frame in frames]).astype(np.float32),
            np.stack([frame.T_world_camera for frame in frames]).astype(np.float32),
            np.tile(np.array(list(sizes), np.int64), (K, 1)),
        ),
        exposures=np.tile(np.array([1.0, 0.0]), (K, 3, 1)),
        stamps_ns=np.array([frame.stamp_ns for frame in frames], np.int64),
        class_ids=ids,
    )


def _rows(frame: Frame, ids: NDArray[np.int32]) -> NDArray[np.int16]:
    """Return the place of each label in sorted ``ids``, -1 = void or no labels."""
    if frame.labels is None:
        return np.full(frame.depth.shape, -1, np.int16)
    return np.where(frame.labels >= 0, np.searchsorted(ids, frame.labels), -1).astype(np.int16)


def normals_of_depth(
    depth: NDArray[np.float32], camera: Camera, T_world_camera: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return unit normals, float32 (H, W, 3), world axes, towards the camera; 0 without depth.

    Args:
        depth: z-depth (H, W), metres, 0 = unknown.
    """
    smooth = np.asarray(cv2.medianBlur(depth, SMOOTHED), np.float32)
    points = camera.backproject(smooth)
    normal = np.cross(np.gradient(points, axis=0), np.gradient(points, axis=1))
    length = np.linalg.norm(normal, axis=2, keepdims=True)
    normal = np.where((length > 0) & (depth > 0)[..., None], normal / np.maximum(length, 1e-12), 0)
    return (normal @ T_world_camera[:3, :3].T).astype(np.float32)
