"""Baseline with hand-set weights: a map's way of blending keyframes, on the depth of source frames.

``field.views.blended_view`` decides by set rules which keyframe is believed where. Here it gets the
source frames of a target as its keyframes, and the depth that they show together as the surface.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from semantic_field.evaluation.baselines.reprojection import reprojected
from semantic_field.field.views.blended_view import blended
from semantic_field.field.views.rendering import RenderedView
from semantic_field.field.views.source_views import Target
from semantic_field.generalizable.frame_pool import FramePool, normals_of
from semantic_field.generalizable.target_depth import TargetDepth, target_depth
from semantic_field.geometry import Camera, moved

SMOOTHED = 5  # pixels; normals are of depth smoothed by a window of this size


def hand_blended(
    pool: FramePool,
    numbers: list[int],
    camera: Camera,
    T_world_camera: NDArray[np.float64],
    threads: int = 1,
) -> RenderedView:
    """Return the view of a camera at a pose (4, 4), blended from frames of a pool by set rules.

    It starts from the reprojected frames, which give colour and label where no frame sees the
    surface. Pixels that no reading reaches have confidence 0, and depth filled in from others.

    Args:
        numbers: of the frames in the pool, at least one.
    """
    frames = [pool[i].frame for i in numbers]
    found = depth_of_target(pool, numbers, camera, T_world_camera)
    depth = found.depth.numpy()
    first = reprojected(frames, camera, T_world_camera).view
    smooth = np.asarray(cv2.medianBlur(depth, SMOOTHED), np.float32)
    rotation = np.asarray(T_world_camera[:3, :3], np.float32)
    normal = normals_of(smooth, camera) @ rotation.T
    confidence = np.where(found.reached.numpy(), first.confidence, np.float32(0))
    view = replace(first, depth=depth, normal=normal, confidence=confidence)
    sources = pool.source_views().taken(np.array(numbers, np.int64))
    pose = moved(T_world_camera, -pool.origin)
    return blended(view, Target(camera, pose, depth, normal), sources, threads)


def depth_of_target(
    pool: FramePool, numbers: list[int], camera: Camera, T_world_camera: NDArray[np.float64]
) -> TargetDepth:
    """Return the target depth that frames of a pool show together, see ``target_depth``."""
    sources, _ = pool.sources(numbers)
    pose = torch.from_numpy(moved(T_world_camera, -pool.origin)).float()
    return target_depth(
        torch.from_numpy(np.stack([pool[i].frame.depth for i in numbers])),
        sources.intrinsics,
        sources.poses,
        torch.from_numpy(camera.intrinsics).float(),
        pose,
        (camera.height, camera.width),
    )
