"""Camera input: subscribes to camera topics, looks up poses and delivers frames.

Colour and depth are paired by stamp. A pair waits until its pose (and its label image, if labels
are published) has arrived, or until a timeout. Unusable frames are counted by cause. No callback
blocks; the retry timer runs only while a frame waits. Without a depth camera each colour image is
taken by itself.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from message_filters import ApproximateTimeSynchronizer, SimpleFilter
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from semantic_field.config import InputConfig
from semantic_field.data.bag_topics import is_rectified
from semantic_field.data.camera_info import image_size
from semantic_field.data.pose_check import StillCamera
from semantic_field.data.registration import other_intrinsics
from semantic_field.frames import Frame
from semantic_field.nodes.camera.camera_poses import PoseNotAvailable, make_pose_lookup
from semantic_field.nodes.camera.frame_builder import FrameBuilder, FrameNotUsable
from semantic_field.nodes.camera.label_images import LabelInput
from semantic_field.nodes.camera.late_labels import LateLabels
from semantic_field.nodes.camera.transforms import BACKWARD_NS
from semantic_field.nodes.ros import conversions
from semantic_field.nodes.ros.drops import DropCounter
from semantic_field.nodes.ros.qos import INPUTS

RETRY_S = 0.02  # while a frame waits
WATCH_S = 2.0


@dataclass(frozen=True)
class Pending:
    """A colour/depth pair, or colour alone, that waits for its pose and labels."""

    stamp_ns: int
    color: Image | CompressedImage
    depth: Image | CompressedImage | None
    arrival: float


class FrameInput:
    """The subscriptions of one camera; calls ``deliver`` with each frame, in order of stamps.

    Args:
        on_label_names: called with the names of the classes in label images.
        on_late_labels: if given, frames do not wait for their label images; it is called with the
            stamp of a delivered frame and the class ids (H, W) that have come for it.
        on_backward_time: called when the stamps of images have gone back.
        with_depth: whether depth images are subscribed to; otherwise frames have no reading.

    Attributes:
        frame_id: optical frame of the frame that is being, or was last, delivered.
    """

    def __init__(
        self,
        node: Node,
        config: InputConfig,
        drops: DropCounter,
        deliver: Callable[[Frame], None],
        on_label_names: Callable[[dict[int, str]], None],
        on_late_labels: Callable[[int, NDArray[np.int32]], None] | None = None,
        on_backward_time: Callable[[], None] = lambda: None,
        with_depth: bool = True,
    ) -> None:
        self._node, self._config, self._drops, self._deliver = node, config, drops, deliver
        self._tell_backward_time = on_backward_time
        self._cameras = ("color", "depth") if with_depth else ("color",)
        self._poses = make_pose_lookup(node, config)
        self.frame_id = ""
        self._still = StillCamera()
        self._pending: deque[Pending] = deque()
        self._info: dict[str, CameraInfo] = {}
        color_topic = node.resolve_topic_name("color/image")
        rectified = config.rectified or is_rectified(color_topic)
        self._builder = FrameBuilder(rectified, drops, self._poses.frames_between)
        self._late: LateLabels | None = None
        self._labels = LabelInput(node, config, drops, on_label_names, self._on_labels)
        if on_late_labels is not None:
            self._late = LateLabels(self._labels, self._builder.fitted_labels, on_late_labels)
        self._without_depth_info = not with_depth
        self._images = {"color": 0, "depth": 0}
        self._last_stamps = {"color": 0, "depth": 0}
        self._pairs_at_watch = self.pairs = 0
        self._first_image = 0.0
        self.last_delivery = 0.0  # monotonic seconds; 0 = no frame yet
        self._subscribe()
        self._synchronise()

    def _subscribe(self) -> None:
        node, qos = self._node, INPUTS[self._config.input_qos]
        self._subscriptions = []
        self._topics = {}
        for name in self._cameras:
            topic, kind = node.resolve_topic_name(f"{name}/image"), Image
            transport = getattr(self._config, f"{name}_transport")
            if transport != "raw":
                # As in image_transport: the transport's name is appended to the remapped topic.
                topic, kind = f"{topic}/{transport}", CompressedImage
            info = f"{name}/camera_info"
            self._topics[name] = topic
            self._subscriptions += [
                node.create_subscription(
                    kind, topic, lambda message, name=name: self._on_image(name, message), qos
                ),
                node.create_subscription(
                    CameraInfo,
                    info,
                    lambda message, name=name: self._on_info(name, message),
                    qos,
                ),
            ]
        # Steady time: frames time out even while simulated time is stopped.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._retry = node.create_timer(RETRY_S, self._deliver_ready, clock=steady)
        self._retry.cancel()
        self._timers = [self._retry, node.create_timer(WATCH_S, self._watch, clock=steady)]

    def _synchronise(self) -> None:
        self._filters = {"color": SimpleFilter(), "depth": SimpleFilter()}
        self._synchroniser = ApproximateTimeSynchronizer(
            list(self._filters.values()), self._config.sync_queue, self._config.sync_slop_s
        )
        self._synchroniser.registerCallback(self._on_pair)

    # --- callbacks ----------------------------------------------------------------------------

    def _on_info(self, name: str, message: CameraInfo) -> None:
        conversions.without_slash(message.header)
        self._info[name] = message

    def _on_image(self, name: str, message: Image | CompressedImage) -> None:
        self._first_image = self._first_image or time.monotonic()
        conversions.without_slash(message.header)
        stamp = conversions.to_nanoseconds(message.header.stamp)
        if not self._is_time(name, stamp):
            return
        if stamp < self._last_stamps[name] - BACKWARD_NS:
            self._on_backward_time(stamp)
        self._last_stamps[name] = stamp
        self._images[name] += 1
        if len(self._cameras) == 1:
            self._on_pair(message, None)
            return
        self._filters[name].signalMessage(message)

    def _is_time(self, name: str, stamp: int) -> bool:
        """Return True if the stamp is valid and new; otherwise count the image as dropped."""
        cause = "zero_stamp" if stamp == 0 else "negative_stamp" if stamp < 0 else ""
        if not cause and stamp == self._last_stamps[name]:
            cause = "duplicate_stamp"
        if cause:
            detail = f"header.stamp is {stamp / 1e9:.9g} s on {self._topics[name]}"
            self._drops.add(cause, detail, what=f"{name} image")
        return not cause

    def _on_labels(self) -> None:
        if self._late is not None:
            self._late.deliver_ready()

    def _on_pair(
        self, color: Image | CompressedImage, depth: Image | CompressedImage | None
    ) -> None:
        self.pairs += 1
        if len(self._pending) >= self._config.max_pending:
            self._pending.popleft()
            self._drops.add("queue_full", f"{self._config.max_pending} frames were waiting")
        stamp = conversions.to_nanoseconds(color.header.stamp)
        self._pending.append(Pending(stamp, color, depth, time.monotonic()))
        self._deliver_ready()

    def _on_backward_time(self, stamp_ns: int) -> None:
        if self._pending:
            count = len(self._pending)
            self._drops.add("time_jump", "stamps went backwards", count)
        self._node.get_logger().warning("time went backwards: buffers are cleared")
        self._poses.rewind(stamp_ns)
        self._labels.rewind(stamp_ns)
        self._clear_images()
        self._tell_backward_time()

    def follow(self, config: InputConfig) -> None:
        """Apply new settings from the next image on."""
        again = (config.sync_queue, config.sync_slop_s)
        synchronise = again != (self._config.sync_queue, self._config.sync_slop_s)
        self._config = self._labels.config = config
        if synchronise:
            self._synchronise()

    def close(self) -> None:
        """Unsubscribe and stop the timers."""
        for timer in self._timers:
            self._node.destroy_timer(timer)
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._labels.close()
        self._poses.close()

    def clear(self) -> None:
        """Forget buffered images, label images and poses."""
        self._poses.clear()
        self._labels.clear()
        self._clear_images()

    def _clear_images(self) -> None:
        if self._late is not None:
            self._late.clear()
        self._pending.clear()
        self._last_stamps = {"color": 0, "depth": 0}
        self._synchronise()

    def frames_between(self, target: str, source: str, header: Header) -> NDArray | None:
        """Return ``T_target_source`` (4, 4) from TF at the header's stamp (0 = the newest).

        None if TF does not know it.
        """
        return self._poses.frames_between(target.lstrip("/"), source.lstrip("/"), header)

    @property
    def held_back(self) -> int:
        """Number of frames that wait for their pose, labels or CameraInfo."""
        return len(self._pending)

    def _deliver_ready(self) -> None:
        while self._pending:
            try:
                frame = self._frame_if_ready(self._pending[0])
            except ValueError as error:
                self._pending.popleft()
                self._drops.add(getattr(error, "cause", "bad_frame"), str(error))
                continue
            if frame is None:
                if self._retry.is_canceled():
                    self._retry.reset()
                return
            pending = self._pending.popleft()
            self.last_delivery = time.monotonic()
            self._hand_over(frame, pending)
            if self._still.moves_unseen(frame):
                world = self._config.global_frame
                text = f"the camera's pose stays where it is in {world!r}, its images move"
                self._drops.warn("pose_at_rest", text)
        self._retry.cancel()

    def _hand_over(self, frame: Frame, pending: Pending) -> None:
        self.frame_id = pending.color.header.frame_id
        self._deliver(frame)
        if self._late is not None and frame.labels is None:
            self._late.expect(frame.stamp_ns)

    def _frame_if_ready(self, pending: Pending) -> Frame | None:
        """Return the frame, or None while something is missing that may still arrive."""
        waited = time.monotonic() - pending.arrival
        info = self._info.get("color")
        if not _belongs(info, pending) and waited < self._config.tf_timeout_s:
            return None
        if info is None:
            topic = self._node.resolve_topic_name("color/camera_info")
            raise FrameNotUsable("no_camera_info", f"no CameraInfo on {topic}")
        try:
            pose = self._poses.lookup(pending.color.header)
        except PoseNotAvailable as error:
            if waited < self._config.tf_timeout_s:
                return None
            raise FrameNotUsable(error.cause, str(error)) from error
        if self._late is None and self._labels.should_wait(pending.stamp_ns, waited):
            return None
        if self._awaits_depth_info(pending, info, waited):
            return None
        # Labels without names are dropped, but those that may be late can wait for them.
        takes = self._late is None or self._labels.is_named
        labels = self._labels.take(pending.stamp_ns) if takes else None
        return self._builder.build(
            pending.color, pending.depth, labels, info, self._info.get("depth"), pose
        )

    def _awaits_depth_info(self, pending: Pending, info: CameraInfo, waited: float) -> bool:
        """Return True while waiting for the depth CameraInfo, which shows if depth is registered.

        Without one before the timeout, depth is assumed to be registered (logged once).
        """
        depth_info = self._info.get("depth")
        if depth_info is not None:  # after a camera change one of the two may be outdated
            stamps = [conversions.to_nanoseconds(i.header.stamp) for i in (info, depth_info)]
            outdated = min(stamps) < pending.stamp_ns and other_intrinsics(info, depth_info)
            return outdated and waited < self._config.depth_info_timeout_s
        if self._without_depth_info:
            return False
        if waited < self._config.depth_info_timeout_s:
            return True
        self._without_depth_info = True
        self._node.get_logger().warning(
            f"no CameraInfo on {self._node.resolve_topic_name('depth/camera_info')} after "
            f"{waited:.1f} s: depth is taken as registered to colour; remap depth/camera_info to "
            "what the driver publishes, so that this is checked"
        )
        return False

    # --- watchdog -----------------------------------------------------------------------------

    def _watch(self) -> None:
        """Warn about what prevents images from being paired."""
        color, depth = self._images["color"], self._images["depth"]
        self._images = {"color": 0, "depth": 0}
        if len(self._cameras) == 1:
            depth = color
        pairs, self._pairs_at_watch = self.pairs - self._pairs_at_watch, self.pairs
        if color and depth and not pairs:
            apart = abs(self._last_stamps["color"] - self._last_stamps["depth"]) / 1e9
            self._drops.add(
                "stamps_apart",
                f"colour and depth stamps are {apart:.2f} s apart",
                min(color, depth),
            )
        elif bool(color) != bool(depth):
            silent = self._topics["depth" if color else "color"]
            self._node.get_logger().warning(
                f"no images on {silent}: check the topic's name, QoS and transport",
                throttle_duration_sec=10.0,
            )
        seconds = time.monotonic() - self._first_image if self._first_image else 0.0
        if "color" not in self._info and seconds > self._config.camera_info_timeout_s:
            topic = self._node.resolve_topic_name("color/camera_info")
            self._drops.warn("no_camera_info", f"no CameraInfo on {topic} after {seconds:.0f} s")


def _belongs(info: CameraInfo | None, pending: Pending) -> bool:
    """Return False if CameraInfo is missing, or older than a change of the image size."""
    if info is None:
        return False
    color = pending.color
    try:
        size = image_size(info)
    except ValueError:
        return False  # not filled in: reported when the frame is built
    same_size = isinstance(color, CompressedImage) or size == (color.width, color.height)
    return same_size or conversions.to_nanoseconds(info.header.stamp) >= pending.stamp_ns
