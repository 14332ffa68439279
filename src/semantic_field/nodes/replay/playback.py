"""Playback interface, and playback of a frame source as colour, depth, CameraInfo and TF."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tf2_ros import StaticTransformBroadcaster, TransformBroadcaster

from semantic_field.config import ReplayNodeConfig
from semantic_field.data.replay import Event, Recording
from semantic_field.data.sources import FrameSource
from semantic_field.frames import Frame
from semantic_field.geometry import invert_transform, make_transform
from semantic_field.nodes.ros import conversions
from semantic_field.nodes.ros.qos import LATCHED, RELIABLE

# Body axes (x forward, y left, z up) to optical axes (x right, y down, z forward), REP-103.
T_BODY_OPTICAL = make_transform([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], [0, 0, 0])


class Playback(Recording, Protocol):
    """A recording that can be published."""

    def publish(self, event: Event) -> None:
        """Publish the messages of one event."""
        ...

    def heard(self) -> bool:
        """Return True if the images have subscribers."""
        ...


class FramePlayback:
    """Publishes frames as colour, depth, CameraInfo, labels and TF on mapping's default topics.

    ``prefix`` is prepended to all topic names except TF.
    """

    def __init__(
        self, node: Node, source: FrameSource, config: ReplayNodeConfig, prefix: str = ""
    ) -> None:
        self._prefix = prefix
        self._source, self._config = source, config
        self.start_ns, self.end_ns = source.stamps[0], source.stamps[-1]
        self._images = {
            name: node.create_publisher(Image, f"{prefix}{name}/image", RELIABLE)
            for name in ("color", "depth", *(["labels"] if source.label_names else []))
        }
        self._info = {
            name: node.create_publisher(CameraInfo, f"{prefix}{name}/camera_info", RELIABLE)
            for name in ("color", "depth")
        }
        self._tf = TransformBroadcaster(node)
        self._body_frame = config.camera_frame.removesuffix("_optical_frame") + "_link"
        self._static_tf = StaticTransformBroadcaster(node)
        self._static_tf.sendTransform(
            TransformStamped(
                header=conversions.make_header(self.start_ns, self._body_frame),
                child_frame_id=config.camera_frame,
                transform=conversions.to_transform(T_BODY_OPTICAL),
            )
        )
        if source.label_names:
            self._publish_names(node)

    def _publish_names(self, node: Node) -> None:
        from vision_msgs.msg import LabelInfo, VisionClass

        topic = f"{self._prefix}labels/label_info"
        self._names = node.create_publisher(LabelInfo, topic, LATCHED)
        classes = [
            VisionClass(class_id=class_id, class_name=name)
            for class_id, name in sorted(self._source.label_names.items())
        ]
        header = conversions.make_header(self.start_ns, self._config.camera_frame)
        self._names.publish(LabelInfo(header=header, class_map=classes))

    def heard(self) -> bool:
        """Return True if the depth images have a subscriber."""
        return self._images["depth"].get_subscription_count() > 0

    def events(self) -> Iterator[Event]:
        """Yield one event per frame; its payload is the frame's index in the source."""
        return (Event(stamp, index) for index, stamp in enumerate(self._source.stamps))

    def publish(self, event: Event) -> None:
        """Publish the frame's pose first, then CameraInfo and images."""
        frame = self._source[event.payload]
        header = conversions.make_header(event.stamp_ns, self._config.camera_frame)
        self._publish_pose(frame, header)
        info = conversions.camera_info(frame.camera, header)
        for publisher in self._info.values():
            publisher.publish(info)
        self._images["color"].publish(conversions.image_message(frame.color, "rgb8", header))
        self._images["depth"].publish(conversions.image_message(frame.depth, "32FC1", header))
        if frame.labels is not None:
            self._images["labels"].publish(conversions.label_message(frame.labels, header))

    def _publish_pose(self, frame: Frame, header: Header) -> None:
        T_world_body = frame.T_world_camera @ invert_transform(T_BODY_OPTICAL)
        self._tf.sendTransform(
            TransformStamped(
                header=Header(stamp=header.stamp, frame_id=self._config.global_frame),
                child_frame_id=self._body_frame,
                transform=conversions.to_transform(T_world_body),
            )
        )
