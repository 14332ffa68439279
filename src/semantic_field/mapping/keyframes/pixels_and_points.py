"""Back-projection of keyframe pixels to map points, and projection of points to keyframes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.field.rays.sampling import DEPTH_UNIT_M, GUESSED, MASKED
from semantic_field.geometry import transform_points
from semantic_field.mapping.keyframes.store import KeyframeStore

ACROSS = 160  # samples in an image row
OCCLUDED_M = 0.05
NEAREST_M = 0.05


def samples_of(store: KeyframeStore, slot: int, labelled: bool = True) -> tuple[NDArray, ...]:
    """Sample a keyframe on a raster of pixels; with ``labelled`` also all labelled pixels.

    Pixels without depth, and masked ones, are left out.

    Returns:
        Pixel indices (N,), points (N, 3) in the map frame, RGB colours (N, 3), unit normals (N, 3)
        and label rows (N,)."""
    camera = store.camera(slot)
    width, height = camera.width, camera.height
    color, depth, rows = (image[slot, : width * height] for image in store.images)
    z = (depth & (GUESSED - 1)).reshape(height, width).astype(np.float32) * np.float32(DEPTH_UNIT_M)
    local = camera.backproject(z)
    smooth = cv2.blur(local, (5, 5))
    normal = np.cross(np.gradient(smooth, axis=0), np.gradient(smooth, axis=1))  # to the camera
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    wanted = np.zeros((height, width), bool)
    stride = max(1, width // ACROSS)
    wanted[stride // 2 :: stride, stride // 2 :: stride] = True
    wanted = wanted.reshape(-1) | (labelled & (rows >= 0))
    pixel = np.flatnonzero(wanted & (depth > 0) & (rows != MASKED))
    T = store.cameras.poses[slot].astype(np.float64)
    return (
        pixel,
        transform_points(T, local.reshape(-1, 3)[pixel]),
        color[pixel],
        normal.reshape(-1, 3)[pixel] @ T[:3, :3].T,
        rows[pixel].copy(),
    )


def points_at(
    store: KeyframeStore, slot: int, pixels: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return map points (N, 3), metres, of those pixels (M,) that have a depth, and a mask (M,)."""
    z = (store.images.depths[slot, pixels] & (GUESSED - 1)) * np.float32(DEPTH_UNIT_M)
    there = z > 0
    camera = store.camera(slot)
    v, u = np.divmod(pixels[there], camera.width)
    points = transform_points(store.cameras.poses[slot], camera.lift(u, v, z[there]))
    return points.astype(np.float32), there


def seen_at(
    keyframes: KeyframeStore, points: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return slots and pixel indices at which points (N, 3) are visible, over all keyframes.

    A point is visible if it is within ``OCCLUDED_M`` of the keyframe's depth.
    """
    found_slots, found_pixels = [], []
    for slot in range(keyframes.count):
        camera, pose = keyframes.camera(slot), keyframes.cameras.poses[slot]
        _, u, v, z = camera.pixels_inside((points - pose[:3, 3]) @ pose[:3, :3])
        pixels = v * camera.width + u
        stored = (keyframes.images.depths[slot, pixels] & (GUESSED - 1)) * DEPTH_UNIT_M
        pixels = pixels[(z > NEAREST_M) & (np.abs(stored - z) < OCCLUDED_M)]
        found_slots.append(np.full(len(pixels), slot))
        found_pixels.append(pixels)
    return np.concatenate(found_slots), np.concatenate(found_pixels)
