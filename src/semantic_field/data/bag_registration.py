"""Depth registration of a bag: detects depth of another camera, or reprojects it to colour."""

from __future__ import annotations

import logging
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.bag_poses import PoseError, TransformTree
from semantic_field.data.bag_reader import BagReader
from semantic_field.data.bag_topics import Topics, is_rectified
from semantic_field.data.camera_info import read_camera_info
from semantic_field.data.rectification import Rectifier
from semantic_field.data.registration import (
    OutlineEvidence,
    move_depth,
    other_intrinsics,
    same_view,
)
from semantic_field.frames import Frame
from semantic_field.geometry import Camera

log = logging.getLogger(__name__)
LOOKS = 6  # frames whose outlines are examined if frame_ids and TF indicate two cameras
REMEDY = (
    "take the driver's depth that is aligned to colour (--depth-topic, such as "
    "aligned_depth_to_color/image_raw), or --register, or --no-register if it is aligned after all"
)


class Frames(Protocol):
    """Frames with unregistered depth."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Frame: ...


class DepthRegistration:
    """Decides by CameraInfo, frame_ids and TF whether depth is registered to the colour camera.

    Args:
        tree: the TF tree of the camera.
        wanted: True reprojects depth to the colour camera; False uses it unchanged; None refuses
            depth of another camera.
        camera_frame: replaces the colour images' frame_id.
    Attributes:
        moves: whether depth has to be reprojected with ``moved``; set by ``check``.
    """

    def __init__(
        self,
        reader: BagReader,
        topics: Topics,
        tree: TransformTree,
        wanted: bool | None,
        camera_frame: str = "",
    ) -> None:
        self._reader, self._topics, self._tree, self._wanted = reader, topics, tree, wanted
        self._camera_frame = camera_frame
        self._depth_info = self._first(topics.depth_info)
        self._color_info = self._first(topics.color_info)
        self._T_color_depth: NDArray[np.floating] | None = None
        self._rectifier: Rectifier | None = None
        self.moves = False

    def _first(self, topic: str) -> Any:
        if not topic:
            return None
        return next((info for _, info in self._reader.messages(topic)), None)

    def check(self, color_frame: str, depth_frame: str, stamp_ns: int, frames: Frames) -> None:
        """Decide, before the first frame is used, how depth is handled.

        Args:
            color_frame, depth_frame: frame_ids of the images.
            stamp_ns: a time at which TF knows the camera.
            frames: only examined if frame_ids and TF indicate two cameras.
        Raises:
            ValueError: if depth is of another camera and must not or cannot be reprojected.
        """
        if self._wanted is False:
            return
        color_frame = self._camera_frame or color_frame
        seen_from = depth_frame or _frame_of(self._depth_info) or color_frame
        transform = self._transform(color_frame, seen_from, stamp_ns)
        apart = transform is not None and not same_view(transform)
        both = self._depth_info is not None and self._color_info is not None
        other = both and other_intrinsics(self._color_info, self._depth_info)
        if self._wanted:
            self._prepare(color_frame, seen_from, transform)
        elif other:
            assert self._depth_info is not None
            raise ValueError(
                f"expected depth registered to colour, got {self._topics.depth} with intrinsics "
                f"of its own (K = {np.round(self._depth_info.k, 2).tolist()} of "
                f"{self._topics.depth_info}), seen from frame {seen_from!r}; {REMEDY}"
            )
        elif apart:
            assert transform is not None
            self._look(color_frame, seen_from, transform, frames)

    def _look(
        self, color_frame: str, depth_frame: str, transform: NDArray[np.floating], frames: Frames
    ) -> None:
        """Two frame_ids but the same intrinsics: decide by the images whether depth is aligned."""
        evidence = OutlineEvidence()
        for index in np.unique(np.linspace(0, len(frames) - 1, LOOKS).astype(int)).tolist():
            frame = frames[index]
            evidence.add(frame.color, frame.depth, frame.camera)
        millimetres = np.linalg.norm(transform[:3, 3]) * 1000
        where = (
            f"{self._topics.depth} in frame {depth_frame!r}, {millimetres:.0f} mm from "
            f"{color_frame!r} by TF"
        )
        if evidence.prefers_registered(transform):
            log.warning(
                "depth is taken as registered: its outlines lie on colour, though %s", where
            )
            return
        raise ValueError(f"expected depth registered to colour, got {where}; {REMEDY}")

    def _transform(
        self, color_frame: str, depth_frame: str, stamp_ns: int
    ) -> NDArray[np.floating] | None:
        """Return ``T_color_depth``, or None if TF does not know it."""
        if color_frame == depth_frame:
            return np.eye(4)
        try:
            return self._tree.at(color_frame, depth_frame, stamp_ns)
        except PoseError:
            return None

    def _prepare(
        self, color_frame: str, depth_frame: str, transform: NDArray[np.floating] | None
    ) -> None:
        if transform is None or self._depth_info is None:
            missing = (
                f"TF between {color_frame!r} and {depth_frame!r}"
                if transform is None
                else f"a CameraInfo beside {self._topics.depth}"
            )
            raise ValueError(
                f"expected {missing} to register depth to colour, got none; record it as well "
                "(/tf_static, camera_info), or take depth that is aligned already"
            )
        rectified = is_rectified(self._topics.depth)
        try:
            self._rectifier = Rectifier(*read_camera_info(self._depth_info, rectified))
        except ValueError as error:
            raise ValueError(f"{self._topics.depth_info}: {error}") from error
        self._T_color_depth, self.moves = transform, True

    def moved(self, depth: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
        """Reproject depth (H, W) in metres to the (undistorted) colour camera.

        Raises:
            ValueError: if the size is not that of the depth CameraInfo.
        """
        assert self._rectifier is not None and self._T_color_depth is not None
        expected = (self._rectifier.camera.height, self._rectifier.camera.width)
        if depth.shape != expected:
            raise ValueError(
                f"expected depth images of {expected} (height, width) as "
                f"{self._topics.depth_info} says, got {depth.shape}"
            )
        flat = self._rectifier.depth(depth)
        return move_depth(flat, self._rectifier.camera, camera, self._T_color_depth)


def _frame_of(info: Any) -> str:
    return "" if info is None else info.header.frame_id.lstrip("/")
