"""Lens undistortion of colour, depth and label images."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from semantic_field.frames import VOID_LABEL
from semantic_field.geometry import Camera

_RADIAL: Final = ("plumb_bob", "rational_polynomial")
_FISHEYE: Final = ("equidistant", "fisheye", "kannala_brandt4")


class Rectifier:
    """Undistorts images to the pinhole camera with the same K.

    Attributes:
        camera: the pinhole camera of the undistorted images.
    Raises:
        ValueError: if the distortion model of CameraInfo is unknown or has a wrong number of
            coefficients.
    """

    def __init__(
        self, camera: Camera, distortion: ArrayLike = (), distortion_model: str = "plumb_bob"
    ) -> None:
        self.camera = camera
        self._distortion = np.asarray(distortion, dtype=np.float64).ravel()
        self._model = distortion_model
        self._maps = _make_maps(camera, self._distortion, distortion_model)

    def fits(
        self, camera: Camera, distortion: ArrayLike, distortion_model: str | None = None
    ) -> bool:
        """Return whether this rectifier is for that camera; CameraInfo may change at any time."""
        same_model = distortion_model in (None, self._model)
        return (
            same_model
            and camera == self.camera
            and np.array_equal(self._distortion, np.asarray(distortion, np.float64).ravel())
        )

    def color(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Undistort uint8 (H, W, 3) with linear interpolation; black outside the image."""
        return self._remap(image, cv2.INTER_LINEAR, 0)

    def depth(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Undistort float32 depth (H, W) by nearest pixel, so that readings are never mixed."""
        return self._remap(image, cv2.INTER_NEAREST, 0)

    def labels(self, image: NDArray[np.int32], void: int = VOID_LABEL) -> NDArray[np.int32]:
        """Undistort int32 ids (H, W) by nearest pixel; ``void`` outside the image."""
        return self._remap(image, cv2.INTER_NEAREST, void)

    def _remap(self, image: NDArray, interpolation: int, border: int) -> NDArray:
        if self._maps is None:
            return image
        size = (self.camera.height, self.camera.width)
        if image.shape[:2] != size:
            raise ValueError(
                f"expected an image of {size} (height, width) as CameraInfo says, "
                f"got {image.shape[:2]}"
            )
        return cv2.remap(
            image,
            self._maps[0],
            self._maps[1],
            interpolation,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(border,) * 4,
        )


def _make_maps(camera: Camera, d: NDArray[np.float64], model: str) -> tuple | None:
    """Return OpenCV remap tables, or None if all coefficients are zero."""
    if not np.isfinite(d).all():
        raise ValueError(f"expected finite distortion coefficients, got D = {d.tolist()}")
    if not d.any():
        return None
    if model not in (*_RADIAL, *_FISHEYE):
        raise ValueError(
            "expected distortion_model plumb_bob, rational_polynomial or equidistant, got "
            f"{model!r} with D = {d.tolist()}; calibrate the camera with one of these, or "
            "rectify the images (image_proc) and take their topic"
        )
    size, k = (camera.width, camera.height), camera.matrix
    if model in _FISHEYE:
        if d.size != 4:
            raise ValueError(f"expected 4 coefficients in D for {model!r}, got D = {d.tolist()}")
        return cv2.fisheye.initUndistortRectifyMap(k, d, np.eye(3), k, size, cv2.CV_32FC1)
    if d.size not in (4, 5, 8, 12, 14):
        raise ValueError(
            f"expected 4, 5, 8, 12 or 14 coefficients in D for {model!r}, got D = {d.tolist()}"
        )
    return cv2.initUndistortRectifyMap(k, d, np.eye(3), k, size, cv2.CV_32FC1)
