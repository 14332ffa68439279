"""The camera of a CameraInfo, for recordings and live topics alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from semantic_field.geometry import Camera

GIVE_CAMERA = "calibrate the camera, or give its values: --camera FX,FY,CX,CY,W,H"


def read_camera_info(info: Any, rectified: bool = False) -> tuple[Camera, NDArray[np.float64], str]:
    """Return pinhole camera, distortion coefficients and distortion model of a CameraInfo.

    For raw images K and D are used; for rectified ones P (or K if P is zero) and no distortion.
    The calibration is of the whole sensor; the returned camera is that of the region of
    interest, after binning (as in image_geometry).

    Raises:
        ValueError: if a field has no valid values; the message names it.
    """
    matrix = np.asarray(info.k, np.float64).reshape(3, 3)
    field, distortion = "K", np.asarray(info.d, np.float64).ravel()
    if rectified:
        projection = np.asarray(info.p, np.float64).reshape(3, 4)[:, :3]
        distortion = np.zeros(0)
        if projection.any():
            matrix, field = projection, "P"
    width, height, x, y = _window(info)
    fx, fy, cx, cy = matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]
    if not (np.isfinite(matrix).all() and fx > 0 and fy > 0):
        raise ValueError(
            f"expected focal lengths in {field} of the CameraInfo, got {field} = "
            f"{matrix.ravel().tolist()}; {GIVE_CAMERA}"
        )
    if not np.isfinite(distortion).all():
        raise ValueError(
            f"expected finite coefficients in D of the CameraInfo, got D = {distortion.tolist()}; "
            f"{GIVE_CAMERA}"
        )
    binning_x, binning_y = max(int(info.binning_x), 1), max(int(info.binning_y), 1)
    camera = Camera(
        float(fx / binning_x),
        float(fy / binning_y),
        float((cx - x) / binning_x),
        float((cy - y) / binning_y),
        width // binning_x,
        height // binning_y,
    )
    return camera, distortion, str(info.distortion_model)


def image_size(info: Any) -> tuple[int, int]:
    """Return width and height of the images that belong to a CameraInfo."""
    width, height, _, _ = _window(info)
    return width // max(int(info.binning_x), 1), height // max(int(info.binning_y), 1)


def _window(info: Any) -> tuple[int, int, int, int]:
    """Return width, height, first column and first row of the region of interest."""
    width, height, roi = int(info.width), int(info.height), info.roi
    if width <= 0 or height <= 0:
        raise ValueError(
            f"expected the size of the images in width and height of the CameraInfo, got "
            f"width = {width}, height = {height}; {GIVE_CAMERA}"
        )
    if roi.width == 0 or roi.height == 0:  # no region of interest: the full image
        return width, height, 0, 0
    x, y, w, h = int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height)
    if x + w > width or y + h > height:
        raise ValueError(
            f"expected roi of the CameraInfo within {width}x{height}, got roi = {w}x{h} at "
            f"({x}, {y}); {GIVE_CAMERA}"
        )
    return w, h, x, y
