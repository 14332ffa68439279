"""The images and CameraInfo of one instant → a rectified frame, or the cause why not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from semantic_field.data.images import Rectifier
from semantic_field.frames import VOID_LABEL, Frame
from semantic_field.nodes import conversions

AnyImage = Image | CompressedImage


class FrameNotUsable(ValueError):
    """A pair that can never become a frame: ``cause`` is a key of the drop remedies."""

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause


class FrameBuilder:
    """Decodes, checks and rectifies; follows a CameraInfo that changes.

    Args:
        rectified: the images are rectified already, so that CameraInfo's P counts.
    """

    def __init__(self, rectified: bool) -> None:
        self._rectified = rectified
        self._rectifier: Rectifier | None = None

    def build(
        self,
        color: AnyImage,
        depth: AnyImage,
        labels: NDArray[np.int32] | None,
        info: CameraInfo,
        depth_info: CameraInfo | None,
        T_world_camera: NDArray[np.float64],
    ) -> Frame:
        """The frame; FrameNotUsable where the parts cannot be read or do not fit together."""
        rgb = _decode("color_encoding", conversions.rgb_image, color)
        metres = _decode("depth_encoding", conversions.depth_metres, depth)
        sizes = {
            "colour": rgb.shape[:2],
            "depth": metres.shape,
            "CameraInfo": (int(info.height), int(info.width)),
        }
        if labels is not None:
            sizes["labels"] = labels.shape
        if len(set(sizes.values())) > 1:
            raise FrameNotUsable("size_mismatch", f"sizes (height, width) differ: {sizes}")
        _check_registered(info, depth_info)
        rectify = self._rectifier_of(info)
        return Frame(
            stamp_ns=conversions.to_nanoseconds(color.header.stamp),
            color=rectify.color(rgb),
            depth=rectify.depth(metres),
            camera=rectify.camera,
            T_world_camera=T_world_camera,
            labels=None if labels is None else rectify.labels(labels, VOID_LABEL),
        )

    def _rectifier_of(self, info: CameraInfo) -> Rectifier:
        try:
            camera, distortion = conversions.camera_from_info(info, self._rectified)
            if self._rectifier is None or not self._rectifier.fits(
                camera, distortion, info.distortion_model
            ):
                self._rectifier = Rectifier(camera, distortion, info.distortion_model)
        except ValueError as error:
            raise FrameNotUsable("bad_camera_info", str(error)) from error
        return self._rectifier


def _decode(cause: str, decode: Callable[[AnyImage], NDArray], message: AnyImage) -> NDArray:
    try:
        return decode(message)
    except ValueError as error:
        raise FrameNotUsable(cause, str(error)) from error


def _check_registered(info: CameraInfo, depth_info: CameraInfo | None) -> None:
    """Depth in a frame and with intrinsics of its own is the depth sensor's view."""
    if depth_info is None or info.header.frame_id == depth_info.header.frame_id:
        return
    if not np.allclose(np.asarray(info.k), np.asarray(depth_info.k), rtol=0.02):
        raise FrameNotUsable(
            "depth_not_registered",
            f"depth is in frame {depth_info.header.frame_id!r} with its own intrinsics, "
            f"colour in {info.header.frame_id!r}",
        )
