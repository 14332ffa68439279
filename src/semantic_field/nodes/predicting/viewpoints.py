"""Where views are wanted from: poses on a topic, a TF frame, the camera itself."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from rclpy.node import Node
from std_msgs.msg import Header

from semantic_field.config import InferenceConfig
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, check_transform
from semantic_field.nodes.camera.inputs import FrameInput
from semantic_field.nodes.predicting.view_publisher import Viewpoint
from semantic_field.nodes.ros import conversions
from semantic_field.nodes.ros.drops import DropCounter
from semantic_field.nodes.ros.qos import RELIABLE
from semantic_field.nodes.ros.steady_timer import SteadyTimer

RATE_SLACK = 0.9  # of a period: stamps are not quite regular


class Viewpoints:
    """Calls ``want`` with each viewpoint, at most ``view_rate_hz`` of them: the newest wins.

    Args:
        feed: knows TF.
        version: changes whenever a view from where the camera stays may look different.
    """

    def __init__(
        self,
        node: Node,
        feed: FrameInput,
        config: InferenceConfig,
        drops: DropCounter,
        want: Callable[[Viewpoint], None],
        version: Callable[[], int],
    ) -> None:
        self._node, self._feed, self._config = node, feed, config
        self._drops, self._want, self._version = drops, want, version
        self._pose: PoseStamped | None = None
        self._begun = 0.0  # monotonic seconds of the newest viewpoint
        self._seen: tuple[NDArray[np.float64], int] | None = None  # of the TF frame
        self._subscription = node.create_subscription(
            PoseStamped, "inference/pose", self._on_pose, RELIABLE
        )
        self._timer = SteadyTimer(node, 1 / config.view_rate_hz, self._on_time)

    def follow(self, config: InferenceConfig) -> None:
        """Apply new settings from the next view on."""
        self._config, self._seen = config, None
        self._timer.follow(1 / config.view_rate_hz)

    def close(self) -> None:
        self._timer.close()
        self._node.destroy_subscription(self._subscription)

    def _on_pose(self, message: PoseStamped) -> None:
        if self._pose is not None:
            self._drops.add("inference_busy", "a newer pose came", what="pose")
        self._pose = message
        if time.monotonic() - self._begun >= 1 / self._config.view_rate_hz:
            self._take_pose()

    def _on_time(self) -> None:
        if self._pose is not None:
            self._take_pose()
        elif self._config.view_frame:
            self._look_up()

    def _take_pose(self) -> None:
        message, self._pose = self._pose, None
        assert message is not None
        conversions.without_slash(message.header)
        pose = check_transform(conversions.matrix_from_pose(message.pose))
        world, parent = self._config.input.global_frame, message.header.frame_id
        if parent not in ("", world):
            T_world_parent = self._feed.frames_between(world, parent, message.header)
            if T_world_parent is None:
                text = f"no TF from {parent!r} to {world!r} at the stamp of the pose"
                self._drops.add("no_view_transform", text, what="pose")
                return
            pose = T_world_parent @ pose
        stamp = conversions.to_nanoseconds(message.header.stamp)
        self._tell(pose, stamp, self._config.camera_frame)

    def _look_up(self) -> None:
        frame, world = self._config.view_frame.lstrip("/"), self._config.input.global_frame
        pose = self._feed.frames_between(world, frame, Header())
        if pose is None:
            text = f"no TF from {frame!r} to {world!r}"
            self._drops.add("no_view_transform", text, what="view")
            return
        version = self._version()
        if self._seen is None or self._seen[1] != version or (self._seen[0] != pose).any():
            self._seen = pose, version
            self._tell(pose, 0, frame)

    def _tell(self, pose: NDArray[np.float64], stamp_ns: int, frame_id: str) -> None:
        self._begun = time.monotonic()
        now = self._node.get_clock().now().nanoseconds
        # A frame of just that stamp is what the view can be compared with, not its source.
        self._want(
            Viewpoint(
                virtual_camera(self._config), pose, stamp_ns or now, frame_id, stamp_ns or None
            )
        )


class CameraFollower:
    """Wants views at the poses of the camera's own images, at most ``follow_rate_hz`` of them."""

    def __init__(self, config: InferenceConfig) -> None:
        self._config, self._newest_ns = config, 0

    def follow(self, config: InferenceConfig) -> None:
        """Apply new settings from the next image on."""
        self._config = config

    def restart(self) -> None:
        """Time went back: want views of earlier images again."""
        self._newest_ns = 0

    def viewpoint(self, frame: Frame, frame_id: str) -> Viewpoint | None:
        """Return the camera of a frame if a view is wanted from there, else None."""
        since_s = (frame.stamp_ns - self._newest_ns) / 1e9
        config = self._config
        if config.follow != "camera" or since_s < RATE_SLACK / config.follow_rate_hz:
            return None
        self._newest_ns = frame.stamp_ns
        # Without labels, an image has nothing to say about its own.
        exclude_ns = frame.stamp_ns if frame.labels is None else None
        return Viewpoint(
            frame.camera, frame.T_world_camera, frame.stamp_ns, frame_id, exclude_ns, frame
        )


def virtual_camera(config: InferenceConfig) -> Camera:
    """Return the virtual camera of the settings."""
    return Camera.from_field_of_view(
        config.view_width, config.view_height, config.view_field_of_view_rad
    )
