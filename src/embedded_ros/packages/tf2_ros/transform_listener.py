"""Transform listener: fills a buffer from /tf and /tf_static."""

from __future__ import annotations

from threading import Thread

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

from tf2_ros.buffer import Buffer

AUTHORITY = "default_authority"

TF_QOS = QoSProfile(
    depth=100, durability=DurabilityPolicy.VOLATILE, history=HistoryPolicy.KEEP_LAST
)
STATIC_TF_QOS = QoSProfile(
    depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL, history=HistoryPolicy.KEEP_LAST
)


class TransformListener:
    """Fills a buffer until ``unregister()``; its node keeps it alive, as in Jazzy.

    Args:
        node: its executor delivers the transforms.
        spin_thread: spin the node in a separate thread. The node must then not be in any other
            executor.
    """

    def __init__(
        self,
        buffer: Buffer,
        node: Node,
        *,
        spin_thread: bool = False,
        qos: QoSProfile | int | None = None,
        static_qos: QoSProfile | int | None = None,
    ) -> None:
        self.buffer, self.node = buffer, node
        # In the node's default, mutually exclusive group, transforms could not arrive while
        # another callback waits for them.
        self.group = ReentrantCallbackGroup()
        group = {"callback_group": self.group}
        self.tf_sub = node.create_subscription(
            TFMessage, "/tf", self.callback, qos or TF_QOS, **group
        )
        self.tf_static_sub = node.create_subscription(
            TFMessage, "/tf_static", self.static_callback, static_qos or STATIC_TF_QOS, **group
        )
        self.executor: SingleThreadedExecutor | None = None
        if spin_thread:
            self.executor = SingleThreadedExecutor(context=node.context)
            self.executor.add_node(node)
            self.dedicated_listener_thread = Thread(
                target=_spin, args=(self.executor,), name="tf2_listener", daemon=True
            )
            self.dedicated_listener_thread.start()

    def unregister(self) -> None:
        """Unsubscribe, and stop the thread if there is one."""
        if self.executor is not None:
            self.executor.shutdown()
            self.dedicated_listener_thread.join()
            self.executor = None
        self.node.destroy_subscription(self.tf_sub)
        self.node.destroy_subscription(self.tf_static_sub)

    def callback(self, data: TFMessage) -> None:
        for transform in data.transforms:
            self.buffer.set_transform(transform, AUTHORITY)

    def static_callback(self, data: TFMessage) -> None:
        for transform in data.transforms:
            self.buffer.set_transform_static(transform, AUTHORITY)


def _spin(executor: SingleThreadedExecutor) -> None:
    try:
        executor.spin()
    except ExternalShutdownException:
        return  # the context was shut down
