"""Depth sensor model: adds noise, quantisation and holes to an exact rendering.

Noise and its growth with distance follow measurements of the Kinect (Nguyen et al. 2012), depth
quantisation its disparities of 1/8 pixel; holes are at grazing angles, at the edges of foreground
objects, on dark screens and panes, at the image border, and where the projector does not reach.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.data.room.scene import SceneImages
from semantic_field.geometry import Camera

BASELINE_M = 0.075
NEAREST_M, FARTHEST_M = 0.45, 6.0
GRAZING_COSINE = 0.16
EDGE_STEP = 0.04  # relative depth difference of neighbouring pixels at an edge


def degrade(
    view: SceneImages, camera: Camera, rng: np.random.Generator, without_echo: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return colour (H, W, 3) and depth (H, W) of a simulated sensor.

    Args:
        view: the exact rendering.
        without_echo: mask (H, W) of glass and screens.
    """
    depth = _noisy(view.depth, camera, rng)
    holes = _holes(view, camera, rng) | (without_echo & (rng.random(depth.shape) < 0.9))
    depth = np.where(holes | (depth < NEAREST_M) | (depth > FARTHEST_M), 0, depth)
    return _noisy_color(view.color, rng), depth.astype(np.float32)


def _noisy(depth: NDArray, camera: Camera, rng: np.random.Generator) -> NDArray:
    """Add noise of 1.2 mm + 1.9 mm (z - 0.4)^2, correlated between pixels; quantise disparity."""
    blobs = cv2.GaussianBlur(rng.standard_normal(depth.shape).astype(np.float32), (0, 0), 1.2)
    blobs /= blobs.std()
    noisy = depth + blobs * (0.0012 + 0.0019 * (depth - 0.4) ** 2)
    steps = 8 * camera.fx * BASELINE_M
    disparity = np.rint(steps / np.maximum(noisy, 0.05))
    return np.rint(1000 * steps / np.maximum(disparity, 1)) / 1000


def _holes(view: SceneImages, camera: Camera, rng: np.random.Generator) -> NDArray[np.bool_]:
    depth, shape = view.depth, view.depth.shape
    grazing = view.cosine < GRAZING_COSINE * rng.uniform(0.6, 1.2, shape)
    # The projector is next to the camera: at an edge its light does not reach a strip behind it.
    jump = np.zeros(shape, bool)
    jump[:, 1:] = (depth[:, 1:] - depth[:, :-1]) > EDGE_STEP * depth[:, :-1]
    near = np.where(jump, np.roll(depth, 1, axis=1), 0)
    shadow = np.zeros(shape, bool)
    for row, column in zip(*np.nonzero(jump)):
        z0, z1 = near[row, column], depth[row, column]
        width = int(camera.fx * BASELINE_M * (1 / z0 - 1 / z1)) + 1
        shadow[row, column : column + min(width, 40)] = True
    edges = cv2.morphologyEx(depth, cv2.MORPH_GRADIENT, np.ones((3, 3))) > EDGE_STEP * depth
    ragged = edges & (rng.random(shape) < 0.5)
    specks = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), 2.0)
    border = np.zeros(shape, bool)
    margin = max(1, shape[1] // 40)
    border[:, :margin] = border[: margin // 2] = True
    return grazing | shadow | ragged | (specks > 3.3 * specks.std()) | border


def _noisy_color(color: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Add shot noise that grows with brightness, and a small random change of exposure."""
    values = color.astype(np.float32) * np.float32(rng.uniform(0.97, 1.03))
    noise = rng.standard_normal(color.shape, dtype=np.float32)
    return np.clip(values + noise * (1.2 + 0.006 * values), 0, 255).astype(np.uint8)
