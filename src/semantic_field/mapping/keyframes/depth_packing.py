"""Depth images as keyframes keep them: packed, holes filled, and where their depth jumps."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.field.rays.sampling import DEPTH_UNIT_M, GUESSED

CONTOUR_WINDOW = 9
VEIL_STEP = 0.03


def pack_depth(
    depth: NDArray[np.float32], depth_range_m: tuple, drop_veils: bool = False
) -> NDArray[np.uint16]:
    """Depth (H, W) in ``DEPTH_UNIT_M``; holes take the depth of the nearest reading, marked.

    A hole is a pixel without a reading (0, NaN), or with one outside ``depth_range_m`` (metres); an
    image without any usable reading stays 0. With ``drop_veils`` a pixel that ``hangs_between`` is
    a hole too. The mark is the bit ``GUESSED``.
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
    """Which pixels of a depth image (H, W) hang between the surfaces before and behind them.

    At silhouettes sensors mix front and background. Such a pixel differs from both neighbours of
    a row or column, nearer than one and farther than the other, by ``VEIL_STEP`` of its depth: a
    surface would have to be seen within 4 degrees of edge-on to look like that. Depth is in metres;
    where one of the three has no reading (0, NaN), nothing hangs.
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
    """Numbers of the pixels of stored depths (H, W) beside which the depth jumps.

    A jump is one of 5 cm and of 5 % of the nearer depth within ``CONTOUR_WINDOW`` pixels. Depths
    are of ``pack_depth``, guessed ones as good as read ones; numbers are row * W + column.
    """
    depth = stored & (GUESSED - 1)
    window = np.ones((CONTOUR_WINDOW, CONTOUR_WINDOW), np.uint8)
    nearest = cv2.erode(depth, window).astype(np.float32)
    step = cv2.dilate(depth, window) - nearest
    return np.flatnonzero(step > np.maximum(0.05 / DEPTH_UNIT_M, 0.05 * nearest))
