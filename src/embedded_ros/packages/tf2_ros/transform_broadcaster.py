"""Broadcaster of dynamic transforms."""

from __future__ import annotations

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile
from tf2_msgs.msg import TFMessage


class TransformBroadcaster:
    """Publishes on /tf."""

    def __init__(self, node: Node, qos: QoSProfile | int | None = None) -> None:
        self.pub_tf = node.create_publisher(TFMessage, "/tf", qos or QoSProfile(depth=100))

    def sendTransform(self, transform: TransformStamped | list[TransformStamped]) -> None:
        """Publish one or more transforms; frame_id is the parent frame."""
        transforms = transform if isinstance(transform, list | tuple) else [transform]
        self.pub_tf.publish(TFMessage(transforms=list(transforms)))
