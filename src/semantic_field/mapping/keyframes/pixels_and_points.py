"""Keyframe pixels as points of the map's frame, and points as pixels of the keyframes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.field.rays.sampling import DEPTH_UNIT_M, GUESSED, MASKED
from semantic_field.mapping.keyframes.store import KeyframeStore

ACROSS = 160  # samples in an image row
OCCLUDED_M = 0.05


def samples_of(store: KeyframeStore, slot: int, labelled: bool = True) -> tuple[NDArray, ...]:
    """Pixel numbers, points, RGB colours, normals and label rows of a keyframe's samples: a
    raster of pixels, and all ``labelled`` ones if wanted, as far as they have a depth."""
    width, height = (int(n) for n in store.cameras.sizes[slot])
    color, depth, rows = (image[slot, : width * height] for image in store.images)
    z = ((depth & (GUESSED - 1)) * np.float32(DEPTH_UNIT_M)).reshape(height, width)
    fx, fy, cx, cy = store.cameras.intrinsics[slot]
    v, u = np.indices((height, width), dtype=np.float32)
    local = np.stack([(u - cx) / fx * z, (v - cy) / fy * z, z], -1)
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
        local.reshape(-1, 3)[pixel] @ T[:3, :3].T + T[:3, 3],
        color[pixel],
        normal.reshape(-1, 3)[pixel] @ T[:3, :3].T,
        rows[pixel].copy(),
    )


def points_at(
    store: KeyframeStore, slot: int, pixels: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Map-frame points (N, 3) of those pixels that have a depth, and which these are."""
    z = (store.images.depths[slot, pixels] & (GUESSED - 1)) * np.float32(DEPTH_UNIT_M)
    there = z > 0
    fx, fy, cx, cy = store.cameras.intrinsics[slot]
    v, u = np.divmod(pixels[there], store.cameras.sizes[slot, 0])
    along = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones(len(u))], 1) * z[there, None]
    pose = store.cameras.poses[slot]
    return (along @ pose[:3, :3].T + pose[:3, 3]).astype(np.float32), there


def seen_at(
    keyframes: KeyframeStore, points: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every keyframe slot and pixel number at which one of the points (N, 3) is seen."""
    found_slots, found_pixels = [], []
    for slot in range(keyframes.count):
        (fx, fy, cx, cy), pose = keyframes.cameras.intrinsics[slot], keyframes.cameras.poses[slot]
        width, height = keyframes.cameras.sizes[slot]
        x, y, z = ((points - pose[:3, 3]) @ pose[:3, :3]).T
        front = z > 0.05
        depth = np.where(front, z, 1.0)
        u, v = np.rint(x / depth * fx + cx), np.rint(y / depth * fy + cy)
        inside = front & (u >= 0) & (u < width) & (v >= 0) & (v < height)
        pixels = (v[inside] * width + u[inside]).astype(np.int64)
        stored = (keyframes.images.depths[slot, pixels] & (GUESSED - 1)) * DEPTH_UNIT_M
        pixels = pixels[np.abs(stored - z[inside]) < OCCLUDED_M]
        found_slots.append(np.full(len(pixels), slot))
        found_pixels.append(pixels)
    return np.concatenate(found_slots), np.concatenate(found_pixels)
