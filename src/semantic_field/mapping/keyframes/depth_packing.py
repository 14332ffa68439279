"""Packing of keyframe depth: hole filling, flying pixel removal, and depth discontinuities."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.field.rays.sampling import DEPTH_UNIT_M, GUESSED

CONTOUR_WINDOW = 7
VEIL_STEP = 0.03


def pack_depth(
    depth: NDArray[np.float32], depth_range_m: tuple, drop_veils: bool = False
) -> NDArray[np.uint16]:
    """Pack depth (H, W), metres, to uint16 in ``DEPTH_UNIT_M``, with holes filled and marked.

    A hole is a pixel without a reading (0, NaN), or with one outside ``depth_range_m`` (metres).
    It gets the depth of the nearest reading and the bit ``GUESSED``; an image without any usable
    reading stays 0. With ``drop_veils``, flying pixels (``hangs_between``) are holes as well.
    """
    nearest_m, farthest_m = depth_range_m
    farthest_m = min(farthest_m, (GUESSED - 1) * DEPTH_UNIT_M)
    valid = (depth >= nearest_m) & (depth <= farthest_m)
    if drop_veils:
        valid &= ~hangs_between(depth)
    packed = np.where(valid, depth / DEPTH_UNIT_M + 0.5, 0).astype(np.uint16)
    if valid.all() or not valid.any():
        return packed
    _, label = cv2.distanceTransformWithLabels(
        (~valid).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_label = np.zeros(label.max() + 1, np.uint16)
    of_label[label[valid]] = packed[valid]
    return np.where(valid, packed, of_label[label] | GUESSED)


def hangs_between(depth: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return a mask (H, W) of flying pixels: between the surfaces in front of and behind them.

    At silhouettes sensors mix foreground and background. A flying pixel differs from both
    neighbours in its row or column by ``VEIL_STEP`` of its depth, nearer than one and farther than
    the other; a real surface would have to be within 4 degrees of edge-on for that. Depth is in
    metres; pixels without a reading (0, NaN), or next to one, are not flying pixels.
    """
    veils = np.zeros(depth.shape, np.bool_)
    for image, found in ((depth, veils), (depth.T, veils.T)):
        here = image[:, 1:-1]
        before, after = here - image[:, :-2], image[:, 2:] - here
        step = np.minimum(np.abs(before), np.abs(after)) > VEIL_STEP * here
        read = (image[:, :-2] > 0) & (here > 0) & (image[:, 2:] > 0)
        found[:, 1:-1] |= step & (before * after > 0) & read
    return veils


def contour_pixels(stored: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Return the indices (row * W + column) of pixels next to depth discontinuities.

    A discontinuity is a change of at least 5 cm and 5 % of the nearer depth within
    ``CONTOUR_WINDOW`` pixels. ``stored`` (H, W) is of ``pack_depth``; filled-in depths count.
    """
    depth = stored & (GUESSED - 1)
    window = np.ones((CONTOUR_WINDOW, CONTOUR_WINDOW), np.uint8)
    nearest = cv2.erode(depth, window).astype(np.float32)
    step = cv2.dilate(depth, window) - nearest
    return np.flatnonzero(step > np.maximum(0.05 / DEPTH_UNIT_M, 0.05 * nearest))
