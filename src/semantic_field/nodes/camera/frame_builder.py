"""Builds a rectified frame from synchronised images and CameraInfo, or says why it cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from semantic_field.data.camera_info import read_camera_info
from semantic_field.data.depth_units import DepthUnit, message_unit
from semantic_field.data.image_files import fitted_labels
from semantic_field.data.message_images import Rectifier
from semantic_field.data.registration import RegistrationWatch, other_intrinsics
from semantic_field.frames import VOID_LABEL, Frame
from semantic_field.nodes.ros import conversions
from semantic_field.nodes.ros.drops import DropCounter

AnyImage = Image | CompressedImage


class FrameNotUsable(ValueError):
    """The pair can never become a frame; ``cause`` is a key of ``drops.REMEDIES``."""

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause


Between = Callable[[str, str, Header], NDArray[np.float64] | None]


class FrameBuilder:
    """Decodes, checks and rectifies images; CameraInfo may change between frames.

    Args:
        rectified: the images are already rectified, so intrinsics come from CameraInfo's P.
        drops: counts rejected label images.
        between: returns ``T_target_source`` at a header's stamp, or None if it is not known.
    """

    def __init__(
        self,
        rectified: bool,
        drops: DropCounter,
        between: Between = lambda target, source, header: None,
    ) -> None:
        self._rectified, self._drops, self._between = rectified, drops, between
        self._rectifier: Rectifier | None = None
        self._units: dict[bool, DepthUnit] = {}
        self._watch = RegistrationWatch()

    def build(
        self,
        color: AnyImage,
        depth: AnyImage | None,
        labels: NDArray[np.int32] | None,
        info: CameraInfo,
        depth_info: CameraInfo | None,
        T_world_camera: NDArray[np.float64],
    ) -> Frame:
        """Return the rectified frame, depth in metres; no reading anywhere if ``depth`` is None.

        Raises:
            FrameNotUsable: if a part cannot be decoded, or the parts do not fit together.
        """
        rgb = _decode("color_encoding", conversions.rgb_image, color)
        metres = np.zeros(rgb.shape[:2], np.float32) if depth is None else self._metres(depth)
        rectify = self._rectifier_of(info)
        size = (rectify.camera.height, rectify.camera.width)
        sizes = {"colour": rgb.shape[:2], "depth": metres.shape, "CameraInfo": size}
        if len(set(sizes.values())) > 1:
            raise FrameNotUsable("size_mismatch", f"sizes (height, width) differ: {sizes}")
        if depth is not None:
            _check_intrinsics(info, depth_info)
        frame = Frame(
            stamp_ns=conversions.to_nanoseconds(color.header.stamp),
            color=rectify.color(rgb),
            depth=rectify.depth(metres),
            camera=rectify.camera,
            T_world_camera=T_world_camera,
            labels=None if labels is None else self.fitted_labels(labels),
        )
        if depth is not None:
            self._check_registered(frame, color.header, depth.header)
        return frame

    def _metres(self, depth: AnyImage) -> NDArray[np.float32]:
        units, is_float = _decode("depth_encoding", conversions.depth_units, depth)
        unit = self._units.setdefault(is_float, message_unit("depth/image", is_float))
        try:
            return unit.to_metres(units)
        except ValueError as error:
            raise FrameNotUsable("depth_out_of_range", str(error)) from error

    def fitted_labels(self, labels: NDArray[np.int32]) -> NDArray[np.int32] | None:
        """Return labels resized and rectified as the images of the newest frame were.

        None (counted) if their aspect ratio differs.
        """
        assert self._rectifier is not None, "labels are fitted to a frame that was built"
        size = (self._rectifier.camera.height, self._rectifier.camera.width)
        fitted = fitted_labels(labels, size)
        if fitted is None:
            detail = f"labels are {labels.shape}, colour is {size} (height, width)"
            self._drops.add("label_size", detail, what="label image")
            return None
        return self._rectifier.labels(fitted, VOID_LABEL)

    def _check_registered(self, frame: Frame, color: Header, depth: Header) -> None:
        frames = color.frame_id.lstrip("/"), depth.frame_id.lstrip("/")
        named = all(frames) and frames[0] != frames[1]
        T_color_depth = self._between(*frames, color) if named else None
        complaint = self._watch.complaint(
            frame.stamp_ns, frame.color, frame.depth, frame.camera, T_color_depth
        )
        if complaint:
            raise FrameNotUsable("depth_not_registered", complaint)

    def _rectifier_of(self, info: CameraInfo) -> Rectifier:
        try:
            calibration = read_camera_info(info, self._rectified)
            if self._rectifier is None or not self._rectifier.fits(*calibration):
                self._rectifier = Rectifier(*calibration)
        except ValueError as error:
            raise FrameNotUsable("bad_camera_info", str(error)) from error
        return self._rectifier


def _decode(cause: str, decode: Callable[[AnyImage], Any], message: AnyImage) -> Any:
    try:
        return decode(message)
    except ValueError as error:
        raise FrameNotUsable(cause, str(error)) from error


def _check_intrinsics(info: CameraInfo, depth_info: CameraInfo | None) -> None:
    """Reject depth whose intrinsics differ from colour's: it is not registered to colour."""
    if depth_info is not None and other_intrinsics(info, depth_info):
        raise FrameNotUsable(
            "depth_not_registered",
            f"depth is in frame {depth_info.header.frame_id!r} with intrinsics of its own, "
            f"K = {np.round(depth_info.k, 2).tolist()}, colour in {info.header.frame_id!r} with "
            f"K = {np.round(info.k, 2).tolist()}",
        )
