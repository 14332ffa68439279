"""Silhouettes of a view, corrected by the keyframes' depth readings.

The field's silhouettes are off by some pixels. Near discontinuities each pixel is asked whether
the surface beside it, extended to its ray, is what the keyframes really see there.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.field.views.asking import ZERO, ask_all

REACH = 2  # pixels by which the field's silhouettes may be off
JUMP = np.float32(0.05)  # relative change of depth at a discontinuity
SURE = np.float32(4)  # how much more a nearer surface must be seen than looked through
FLATTEST_SLOPE = np.float32(-0.15)  # surfaces seen more flatly are not extended as planes
FARTHEST = np.float32(1e9)  # metres; stands for pixels without depth
OWN, NEAR, FAR = range(3)  # the surfaces that a pixel chooses from
_jit = njit(nogil=True, cache=True, error_model="numpy")


def discontinuities(depth: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the numbers of the pixels within ``REACH`` of a discontinuity of depth (H, W)."""
    window = np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8)
    nearest = cv2.erode(np.where(depth > 0, depth, FARTHEST), window)
    beside_nothing = (depth == 0) & (nearest < FARTHEST)
    return np.flatnonzero((cv2.dilate(depth, window) > nearest * (1 + JUMP)) | beside_nothing)


@_jit
def settle(pixels, rays, depth, normal, rotation, lenses, depths, labels, focal, settled, source):
    """Choose the surface of each listed pixel.

    A pixel takes the surface of its nearest neighbour if the keyframes see that much more than
    they look through it, and of its farthest neighbour if they look through its own surface more
    than they see it.

    Args:
        pixels: int64 (N,), numbers of pixels. rays: x / z of each column and y / z of each row.
        depth, normal: the field's, float32 (H, W), metres, and (H, W, 3), map axes.
        rotation: float32 (3, 3), of map axes to the camera's.
        settled, source: float32 (N,) and int64 (N,), filled with the z-depth of the surface and
            the number of the pixel from which it is taken.
    """
    n, K, columns = len(pixels), len(lenses.width), depth.shape[1]
    z, origin = np.zeros((3, n), np.float32), np.zeros((3, n), np.int64)
    seen, past = np.zeros((3, n), np.float32), np.zeros((3, n), np.float32)
    x, y, turned = np.empty(n, np.float32), np.empty(n, np.float32), np.empty((3, n), np.float32)
    found, answers = np.empty((K, 6, n), np.float32), np.empty((4, K, n), np.float32)
    for number in range(n):
        i, j = pixels[number] // columns, pixels[number] % columns
        z[OWN, number], origin[OWN, number] = depth[i, j], pixels[number]
        a, b, c, d = _ends(depth, i, j)
        z[NEAR, number] = _extended(i, j, a, b, depth, normal, rotation, rays)
        z[FAR, number] = _extended(i, j, c, d, depth, normal, rotation, rays)
        origin[NEAR, number], origin[FAR, number] = a * columns + b, c * columns + d
    for surface in range(3):
        for number in range(n):
            i, j = pixels[number] // columns, pixels[number] % columns
            a, b = origin[surface, number] // columns, origin[surface, number] % columns
            x[number], y[number] = rays[0][j] * z[surface, number], rays[1][i] * z[surface, number]
            for axis in range(3):
                turned[axis, number] = _turned(rotation, normal, a, b, axis)
        ask_all(
            x, y, z[surface], turned, lenses, depths, labels, focal, ZERO,
            found, answers[0], answers[1], answers[2], answers[3],
        )  # fmt: skip
        for k in range(K):
            for number in range(n):
                seen[surface, number] += answers[1, k, number]
                past[surface, number] += answers[2, k, number]
    for number in range(n):
        choice = _choice(z[:, number], seen[:, number], past[:, number])
        settled[number], source[number] = z[choice, number], origin[choice, number]


@_jit
def _choice(z, seen, past):
    """Which of its own, its nearest and its farthest neighbour's surface a pixel takes."""
    nothing = z[OWN] == ZERO
    nearer = nothing or z[OWN] - z[NEAR] > JUMP * z[NEAR]
    if nearer and seen[NEAR] > SURE * past[NEAR] and seen[NEAR] > seen[OWN]:
        return NEAR
    farther = nothing or z[FAR] - z[OWN] > JUMP * z[OWN]
    if farther and past[OWN] >= seen[OWN] and seen[FAR] > past[FAR]:
        return FAR
    return OWN


@_jit
def _ends(depth, i, j):
    """Rows and columns of the nearest and of the farthest depth within ``REACH`` pixels."""
    height, width = depth.shape
    near, far = ZERO, ZERO
    ni, nj, fi, fj = i, j, i, j
    for a in range(max(i - REACH, 0), min(i + REACH + 1, height)):
        for b in range(max(j - REACH, 0), min(j + REACH + 1, width)):
            d = depth[a, b]
            if d > ZERO and (near == ZERO or d < near):
                near, ni, nj = d, a, b
            if d > far:
                far, fi, fj = d, a, b
    return ni, nj, fi, fj


@_jit
def _turned(rotation, normal, a, b, axis):
    """One coordinate of the normal of pixel (a, b) in the camera's axes."""
    x, y, z = normal[a, b, 0], normal[a, b, 1], normal[a, b, 2]
    return rotation[axis, 0] * x + rotation[axis, 1] * y + rotation[axis, 2] * z


@_jit
def _extended(i, j, a, b, depth, normal, rotation, rays):
    """Depth of the surface of pixel (a, b), taken for a plane, on the ray of pixel (i, j)."""
    d, here, there = depth[a, b], ZERO, ZERO
    for axis in range(3):
        n = _turned(rotation, normal, a, b, axis)
        here += n * (rays[0][j] if axis == 0 else rays[1][i] if axis == 1 else np.float32(1))
        there += n * (rays[0][b] if axis == 0 else rays[1][a] if axis == 1 else np.float32(1))
    if here > FLATTEST_SLOPE:
        return d
    return min(max(d * there / here, d * (np.float32(1) - JUMP)), d * (np.float32(1) + JUMP))
