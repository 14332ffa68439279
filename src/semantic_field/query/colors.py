"""Colour maps for relevancy, depth and class ids."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

NOTHING = np.array([40, 40, 40], np.uint8)


def relevancy_colors(relevancy: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return RGB (..., 3), uint8, of relevancies (...) in 0..1: dark blue, green, dark red.

    NaN is grey.
    """
    return _mapped(relevancy, cv2.COLORMAP_TURBO, np.isfinite(relevancy))


def depth_colors(depth: NDArray[np.floating], far_m: float | None = None) -> NDArray[np.uint8]:
    """Return RGB (..., 3), uint8, of z-depths (...) in metres; bright is near, 0 and NaN are grey.

    ``far_m`` is the depth of the darkest colour; by default the 99th percentile of the image.
    """
    valid = np.isfinite(depth) & (depth > 0)
    if far_m is None:
        far_m = float(np.quantile(depth[valid], 0.99)) if valid.any() else 1.0
    return _mapped(1.0 - np.asarray(depth) / far_m, cv2.COLORMAP_VIRIDIS, valid)


def label_colors(labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return RGB (..., 3), uint8, of class ids (...): a fixed colour for each id, grey if negative.

    Hues advance by the golden ratio, so that consecutive ids have different colours.
    """
    ids = np.asarray(labels, np.int64)
    hue = np.mod(ids * 0.618034, 1.0) * 180.0
    value = np.where(ids % 2 == 0, 235, 175)
    hsv = np.stack([hue, np.full(ids.shape, 165), value], -1).astype(np.uint8)
    rgb = cv2.cvtColor(hsv.reshape(-1, 1, 3), cv2.COLOR_HSV2RGB).reshape(*ids.shape, 3)
    return np.where((ids < 0)[..., None], NOTHING, rgb).astype(np.uint8)


def _mapped(
    values: NDArray[np.floating], colormap: int, valid: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    if not values.size:
        return np.zeros((*values.shape, 3), np.uint8)
    levels = np.clip(np.nan_to_num(np.asarray(values, np.float64)), 0.0, 1.0) * 255.0 + 0.5
    bgr = cv2.applyColorMap(levels.astype(np.uint8).reshape(-1, 1), colormap)
    rgb = bgr.reshape(*values.shape, 3)[..., ::-1]
    return np.where(valid[..., None], rgb, NOTHING).astype(np.uint8)
