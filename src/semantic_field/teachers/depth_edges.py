"""Edge weights between neighbouring pixels: depth steps, surface creases, and colour."""

# Compiled functions carry no annotations: Numba infers their types.
from __future__ import annotations

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.geometry import Camera

_jit = njit(nogil=True, cache=True, error_model="numpy")


@_jit
def _slope(disparity, axis, reach):
    """Return the change of inverse depth per pixel along an axis: the smaller of both sides.

    Inverse depth is affine over a plane, so this is exact there; at a depth step the smaller
    change is that along the surface.
    """
    height, width = disparity.shape
    slope = np.zeros((height, width), np.float32)
    dy, dx = (reach, 0) if axis == 0 else (0, reach)
    for y in range(height):
        for x in range(width):
            here = disparity[y, x]
            best = np.float32(np.inf)
            for sign in (-1, 1):
                v, u = y + sign * dy, x + sign * dx
                if 0 <= v < height and 0 <= u < width and disparity[v, u] > 0:
                    change = (disparity[v, u] - here) * sign / reach
                    if abs(change) < abs(best):
                        best = change
            slope[y, x] = best if np.isfinite(best) and here > 0 else 0.0
    return slope


@_jit
def edge_weights(lab, disparity, slopes, normals, back, units):
    """Return the edge weights of each pixel to its right and lower neighbour, float32 (2, H, W, 2).

    The last axis is geometry (0..4; 0 if either pixel has no reading) and colour (from 0 on).
    Weights of missing neighbours in the last column and row are 0.

    Args:
        lab: (H, W, 3) of ``smoothed_lab``.
        disparity, slopes, normals: of ``surface_of``.
        back: distance in pixels from the edge at which normals are compared, as normals are
            smoothed.
        units: values that count as 1: colour difference, relative depth step, turn of the surface
            as 1 - cos; and the factor for convex turns relative to concave ones.
    """
    height, width = disparity.shape
    color_unit, step_unit, crease_unit, outward = units
    weights = np.zeros((2, height, width, 2), np.float32)
    for axis in range(2):
        dy, dx = (0, 1) if axis == 0 else (1, 0)
        for y in range(height - dy):
            for x in range(width - dx):
                v, u = y + dy, x + dx
                color = 0.0
                for channel in range(3):
                    color += (lab[y, x, channel] - lab[v, u, channel]) ** 2
                weights[axis, y, x, 1] = np.sqrt(color) / color_unit
                here, there = disparity[y, x], disparity[v, u]
                if here <= 0 or there <= 0:
                    continue
                change = there - here
                slope = slopes[1 - axis]
                off = min(abs(change - slope[y, x]), abs(change - slope[v, u]))
                step = off / min(here, there) / step_unit  # metres over depth, to first order
                v0, u0 = max(y - back * dy, 0), max(x - back * dx, 0)
                v1, u1 = min(v + back * dy, height - 1), min(u + back * dx, width - 1)
                turn = 0.0
                if step < 1.0:
                    a, b = normals[v0, u0], normals[v1, u1]
                    cosine = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
                    turn = (1.0 - cosine) / crease_unit
                    # Normals point towards the camera: on a convex surface they diverge.
                    along = (b[0] - a[0]) * dx + (b[1] - a[1]) * dy
                    if along > 0:
                        turn *= outward
                weights[axis, y, x, 0] = min(step, 2.0) + min(turn, 2.0)
    return weights


def smoothed_lab(color: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """Convert an sRGB image (H, W, 3), 0..255, to smoothed CIE Lab (h, w, 3), L 0..100.

    ``size`` is (w, h).
    """
    small = cv2.resize(color, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2Lab)
    return np.asarray(cv2.GaussianBlur(lab, (0, 0), 0.8), np.float32)


def surface_of(
    depth: NDArray[np.float32] | None, camera: Camera | None, size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return inverse depth, its slopes and normals of each pixel, at ``size`` = (w, h).

    Args:
        depth: z-depth in metres (H, W); pixels without a reading (0, NaN, inf) take the nearest.
        camera: of ``depth``.
    Returns:
        Inverse depth (h, w) in 1 / m, its slopes (2, h, w) per pixel downwards and to the right,
        and unit normals (h, w, 3) towards the camera, in its frame (OpenCV axes). All zeros
        without a camera, a depth image or a reading in it.
    """
    width, height = size
    if depth is None or camera is None:
        zeros = np.zeros((height, width), np.float32)
        return zeros, np.stack([zeros] * 2), np.stack([zeros] * 3, axis=-1)
    small = cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST_EXACT)
    with np.errstate(divide="ignore"):
        disparity = np.where(small > 0, 1.0 / small, 0.0).astype(np.float32)
    disparity = np.asarray(cv2.medianBlur(_filled(disparity), 3), np.float32)
    slopes = np.stack([_slope(disparity, axis, 3) for axis in (0, 1)])
    view = camera.resized(width, height)
    # 1/z = a u + b v + c is the plane (fx a, fy b, a cx + b cy + c) . point = 1.
    u = np.arange(width, dtype=np.float32) - np.float32(view.cx)
    v = (np.arange(height, dtype=np.float32) - np.float32(view.cy))[:, None]
    plane = [view.fx * slopes[1], view.fy * slopes[0], disparity - slopes[1] * u - slopes[0] * v]
    normals = cv2.blur(-_unit(np.stack(plane, axis=-1).astype(np.float32)), (3, 3))
    return disparity, slopes, _unit(np.asarray(normals, np.float32))


def _filled(disparity: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fill holes with the nearest reading: open holes would connect both of their sides."""
    hole = disparity == 0
    if hole.all() or not hole.any():
        return disparity
    _, nearest = cv2.distanceTransformWithLabels(
        hole.astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_label = np.zeros(nearest.max() + 1, np.float32)
    of_label[nearest[~hole]] = disparity[~hole]
    return of_label[nearest]


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
