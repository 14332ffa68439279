"""Fills a buffer from /tf and /tf_static."""

from __future__ import annotations

from threading import Thread

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

from tf2_ros.buffer import Buffer

DEFAULT_TF_TOPIC = "/tf"
DEFAULT_STATIC_TF_TOPIC = "/tf_static"
AUTHORITY = "default_authority"

TF_QOS = QoSProfile(
    depth=100, durability=DurabilityPolicy.VOLATILE, history=HistoryPolicy.KEEP_LAST
)
STATIC_TF_QOS = QoSProfile(
    depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL, history=HistoryPolicy.KEEP_LAST
)


class TransformListener:
    """Subscribes for a buffer; ``unregister()`` ends it.

    Args:
        node: whose executor delivers the transforms; None makes one of its own.
        spin_thread: spin the node in a thread of the listener's own. The node must then not be
            in any other executor.
    """

    def __init__(
        self,
        buffer: Buffer,
        node: Node | None,
        *,
        spin_thread: bool = False,
        qos: QoSProfile | int | None = None,
        static_qos: QoSProfile | int | None = None,
        tf_topic: str = DEFAULT_TF_TOPIC,
        tf_static_topic: str = DEFAULT_STATIC_TF_TOPIC,
        static_only: bool = False,
    ) -> None:
        self.buffer = buffer
        self.node = _own_node(id(self)) if node is None else node
        self._owns_node = node is None
        # In the default group, which is mutually exclusive, transforms could not arrive while
        # another callback of the node waits for them.
        self.group = ReentrantCallbackGroup()
        self.tf_sub = None
        if not static_only:
            self.tf_sub = self.node.create_subscription(
                TFMessage, tf_topic, self.callback, qos or TF_QOS, callback_group=self.group
            )
        self.tf_static_sub = self.node.create_subscription(
            TFMessage,
            tf_static_topic,
            self.static_callback,
            static_qos or STATIC_TF_QOS,
            callback_group=self.group,
        )
        self._jump_handle = buffer.follow_clock(self.node.get_clock())
        self.executor: SingleThreadedExecutor | None = None
        if spin_thread:
            self.executor = SingleThreadedExecutor(context=self.node.context)
            self.executor.add_node(self.node)
            self.dedicated_listener_thread = Thread(
                target=_spin, args=(self.executor,), name="tf2_listener", daemon=True
            )
            self.dedicated_listener_thread.start()

    def unregister(self) -> None:
        """Stop listening, and the thread where there is one."""
        if self.executor is not None:
            self.executor.shutdown()
            self.dedicated_listener_thread.join()
            self.executor = None
        if self.tf_sub is not None:
            self.node.destroy_subscription(self.tf_sub)
            self.tf_sub = None
        if self.tf_static_sub is not None:
            self.node.destroy_subscription(self.tf_static_sub)
            self.tf_static_sub = None
        self._jump_handle.unregister()
        if self._owns_node:
            self.node.destroy_node()
            self._owns_node = False

    def callback(self, data: TFMessage) -> None:
        for transform in data.transforms:
            self.buffer.set_transform(transform, AUTHORITY)

    def static_callback(self, data: TFMessage) -> None:
        for transform in data.transforms:
            self.buffer.set_transform_static(transform, AUTHORITY)


def _own_node(number: int) -> Node:
    return Node(
        f"transform_listener_impl_{number:x}",
        enable_rosout=False,
        start_parameter_services=False,
        parameter_overrides=[Parameter("use_sim_time", value=False)],
    )


def _spin(executor: SingleThreadedExecutor) -> None:
    try:
        executor.spin()
    except ExternalShutdownException:
        return  # the context was shut down: nothing to listen to any more
