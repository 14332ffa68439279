"""A keyframe reduced in size, as it is compared with others."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.field.rays.sampling import DEPTH_UNIT_M, GUESSED, MASKED
from semantic_field.geometry import Camera
from semantic_field.mapping.keyframes.store import KeyframeStore

ACROSS = 160  # columns of a reduced view, at least; fewer only if the keyframe has fewer
DARK = 8.0  # added to grey values before the logarithm, so that noise of dark pixels stays small
SCHARR = 32  # Scharr's filter gives this many times the slope
EDGE_M, EDGE_SHARE = 0.02, 0.03  # depth range of 3 x 3 pixels, above which they are an edge


@dataclass(frozen=True)
class ReducedView:
    """Images of a keyframe at a fraction of its size, with what alignment needs.

    Attributes:
        camera: of the reduced images (H, W). scale: keyframe pixels per reduced pixel.
        pose: ``T_map_camera`` (4, 4) as received, without corrections.
        color: RGB (H, W, 3), 0..255, smoothed. log: logarithm of the grey value (H, W).
        slope: change of ``log`` per pixel along columns and rows (2, H, W).
        depth: metres (H, W). usable: mask (H, W) of readings away from depth edges, not masked.
        points, normals: in the camera frame (H, W, 3), metres and unit length.
    """

    camera: Camera
    scale: int
    pose: NDArray[np.float64]
    color: NDArray[np.float32]
    log: NDArray[np.float32]
    slope: NDArray[np.float32]
    depth: NDArray[np.float32]
    usable: NDArray[np.bool_]
    points: NDArray[np.float32]
    normals: NDArray[np.float32]

    @classmethod
    def of(cls, store: KeyframeStore, slot: int) -> ReducedView:
        """Reduce the keyframe in a slot."""
        full = store.camera(slot)
        scale = max(1, full.width // ACROSS)
        width, height = full.width // scale, full.height // scale
        images = (image[slot, : full.width * full.height] for image in store.images)
        color, stored, labels = (x.reshape(full.height, full.width, -1) for x in images)
        inner = np.s_[scale // 2 : height * scale : scale, scale // 2 : width * scale : scale, 0]
        stored, labels = stored[inner], labels[inner]
        camera = _every(full, scale, width, height)
        smooth = cv2.boxFilter(color, cv2.CV_32F, (2 * scale + 1,) * 2)
        color = np.ascontiguousarray(smooth[inner[:2]], np.float32)
        log = np.log(color.mean(2) + np.float32(DARK))
        slope = np.stack([cv2.Scharr(log, cv2.CV_32F, *order) for order in ((1, 0), (0, 1))])
        read = (stored > 0) & (stored & GUESSED == 0) & (labels != MASKED)
        depth = np.where(read, stored * np.float32(DEPTH_UNIT_M), 0).astype(np.float32)
        points = camera.backproject(depth)
        normals = np.cross(cv2.Sobel(points, cv2.CV_32F, 1, 0), cv2.Sobel(points, cv2.CV_32F, 0, 1))
        normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
        pose = store.learnt["given_pose"][slot].copy()
        usable = _away_from_edges(depth)
        slope = (slope / SCHARR).astype(np.float32)
        return cls(camera, scale, pose, color, log, slope, depth, usable, points, normals)


def _every(camera: Camera, scale: int, width: int, height: int) -> Camera:
    """Return the camera of every ``scale``-th pixel, from number ``scale // 2`` on."""
    first = scale // 2
    return Camera(
        camera.fx / scale,
        camera.fy / scale,
        (camera.cx - first) / scale,
        (camera.cy - first) / scale,
        width,
        height,
    )


def _away_from_edges(depth: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return a mask (H, W) of pixels all of whose 3 x 3 neighbours are readings of one surface."""
    window = np.ones((3, 3), np.uint8)
    nearest, farthest = cv2.erode(depth, window), cv2.dilate(depth, window)
    usable = (nearest > 0) & (farthest - nearest < EDGE_M + EDGE_SHARE * depth)
    usable[[0, -1]] = usable[:, [0, -1]] = False
    return usable
