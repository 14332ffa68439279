"""Broadcaster of static transforms."""

from __future__ import annotations

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

# Depth 1: each message holds all transforms sent so far, so the last one is enough.
STATIC_QOS = QoSProfile(
    depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL, history=HistoryPolicy.KEEP_LAST
)


class StaticTransformBroadcaster:
    """Publishes on /tf_static; as in Jazzy, later transforms of a child frame are ignored."""

    def __init__(self, node: Node, qos: QoSProfile | int | None = None) -> None:
        self._transforms: dict[str, TransformStamped] = {}
        self.pub_tf = node.create_publisher(TFMessage, "/tf_static", qos or STATIC_QOS)

    def sendTransform(self, transform: TransformStamped | list[TransformStamped]) -> None:
        """Publish one or more transforms together with all previous ones."""
        transforms = transform if isinstance(transform, list | tuple) else [transform]
        for item in transforms:
            self._transforms.setdefault(item.child_frame_id, item)
        self.pub_tf.publish(TFMessage(transforms=list(self._transforms.values())))
