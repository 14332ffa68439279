"""Publishes views of a virtual camera: images, intrinsics, a cloud, the camera's frame on TF."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from tf2_msgs.msg import TFMessage

from semantic_field.config import InferenceConfig
from semantic_field.field.views.rendering import RenderedView
from semantic_field.frames import Frame
from semantic_field.geometry import Camera
from semantic_field.nodes.camera.transforms import BACKWARD_NS
from semantic_field.nodes.map.map_publisher import view_images
from semantic_field.nodes.ros import conversions
from semantic_field.nodes.ros.qos import LATCHED, RELIABLE

EARLIER_NS = BACKWARD_NS // 2


@dataclass(frozen=True)
class Viewpoint:
    """A virtual camera.

    Attributes:
        camera: its intrinsics.
        T_world_camera: its pose (4, 4), metres, OpenCV axes.
        stamp_ns: stamp of the view.
        frame_id: optical frame of the view's images.
        exclude_ns: stamp of the frame that must not be a source; None = all may.
        image: the frame of a camera that is followed; its own image and depth are known.
    """

    camera: Camera
    T_world_camera: NDArray[np.float64]
    stamp_ns: int
    frame_id: str
    exclude_ns: int | None = None
    image: Frame | None = None


class ViewPublisher:
    """Publishes ``inference/{color,depth,label,confidence,camera_info,cloud,label_info}``."""

    def __init__(self, node: Node, config: InferenceConfig) -> None:
        self._node, self._config = node, config
        self._images = {
            name: node.create_publisher(Image, f"inference/{name}", RELIABLE)
            for name in ("color", "depth", "label", "confidence")
        }
        self._info = node.create_publisher(CameraInfo, "inference/camera_info", RELIABLE)
        self._cloud = node.create_publisher(PointCloud2, "inference/cloud", LATCHED)
        self._tf = node.create_publisher(TFMessage, "/tf", RELIABLE)
        self._publishers = [*self._images.values(), self._info, self._cloud, self._tf]
        self._names = self._names_publisher()
        self._newest_ns = 0

    def _names_publisher(self):
        try:
            from vision_msgs.msg import LabelInfo
        except ImportError:
            text = "vision_msgs is not installed: no inference/label_info"
            self._node.get_logger().warning(text)
            return None
        publisher = self._node.create_publisher(LabelInfo, "inference/label_info", LATCHED)
        self._publishers.append(publisher)
        return publisher

    def follow(self, config: InferenceConfig) -> None:
        """Apply new settings from the next view on."""
        self._config = config

    @property
    def is_heard(self) -> bool:
        """Whether anybody subscribes to views."""
        shown = [*self._images.values(), self._cloud]
        return any(publisher.get_subscription_count() > 0 for publisher in shown)

    @property
    def is_pictured(self) -> bool:
        """Whether anybody subscribes to more of the views than their labels."""
        shown = [self._images["color"], self._images["depth"], self._cloud]
        return any(publisher.get_subscription_count() > 0 for publisher in shown)

    def publish_names(self, names: dict[int, str]) -> None:
        """Publish the names of the class ids in label images."""
        if self._names is None:
            return
        from vision_msgs.msg import LabelInfo, VisionClass

        header = conversions.make_header(
            self._node.get_clock().now().nanoseconds, self._config.input.global_frame
        )
        classes = [VisionClass(class_id=i, class_name=name) for i, name in sorted(names.items())]
        self._names.publish(LabelInfo(header=header, class_map=classes))

    def publish(self, view: RenderedView, viewpoint: Viewpoint) -> None:
        """Publish a view; the cloud is in ``camera_frame``, which is broadcast at its stamp."""
        header = conversions.make_header(viewpoint.stamp_ns, viewpoint.frame_id)
        self._broadcast(viewpoint)
        for name, image in view_images(view, header).items():
            self._images[name].publish(image)
        self._info.publish(conversions.camera_info(viewpoint.camera, header))
        if self._cloud.get_subscription_count() > 0:
            self._cloud.publish(self._cloud_of(view, viewpoint))

    def _broadcast(self, viewpoint: Viewpoint) -> None:
        """Broadcast the virtual camera's frame, unless that would turn TF's time back.

        Buffers that notice a transform from clearly earlier than the one before are cleared, as
        recordings that start anew demand it.
        """
        if viewpoint.stamp_ns < self._newest_ns - EARLIER_NS:
            return
        self._newest_ns = max(self._newest_ns, viewpoint.stamp_ns)
        header = conversions.make_header(viewpoint.stamp_ns, self._config.input.global_frame)
        transform = TransformStamped(
            header=header,
            child_frame_id=self._config.camera_frame,
            transform=conversions.to_transform(viewpoint.T_world_camera),
        )
        self._tf.publish(TFMessage(transforms=[transform]))

    def restart(self) -> None:
        """Time went back: broadcast earlier stamps again."""
        self._newest_ns = 0

    def _cloud_of(self, view: RenderedView, viewpoint: Viewpoint) -> PointCloud2:
        """Return the points of the pixels with depth, in the axes of the camera."""
        step = self._config.cloud_pixels
        coarse = np.zeros(view.depth.shape, bool)
        coarse[::step, ::step] = True
        shown = coarse & (view.depth > 0)
        return conversions.cloud_message(
            conversions.make_header(viewpoint.stamp_ns, self._config.camera_frame),
            viewpoint.camera.backproject(view.depth)[shown],
            view.color[shown],
            view.confidence[shown],
            view.label[shown],
            view.normal[shown] @ viewpoint.T_world_camera[:3, :3],
        )

    def close(self) -> None:
        for publisher in self._publishers:
            self._node.destroy_publisher(publisher)
