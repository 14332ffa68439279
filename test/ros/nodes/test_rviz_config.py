"""RViz shows what is there: every display of config/semantic_field.rviz matches a publisher."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import embedded_ros

embedded_ros.install()

from rclpy.qos import DurabilityPolicy, ReliabilityPolicy  # noqa: E402

from semantic_field.nodes.mapping_node import MappingNode  # noqa: E402
from semantic_field.nodes.query_node import QueryNode  # noqa: E402

pytestmark = pytest.mark.ros
CONFIG = Path(__file__).parents[3] / "config" / "semantic_field.rviz"
TYPES = {
    "PointCloud2": "sensor_msgs/msg/PointCloud2",
    "MarkerArray": "visualization_msgs/msg/MarkerArray",
    "Pose": "geometry_msgs/msg/PoseStamped",
    "Image": "sensor_msgs/msg/Image",
}


def test_every_display_has_a_publisher(start_node, inference, quick, make_node, wait_until):
    manager = yaml.safe_load(CONFIG.read_text())["Visualization Manager"]
    displays = [d for d in manager["Displays"] if "Topic" in d]
    assert len(displays) >= 8
    node = start_node(MappingNode, **(quick | {"teacher.kind": "none"}))
    assert manager["Global Options"]["Fixed Frame"] == node.settings.input.global_frame
    start_node(QueryNode)
    inference()
    rviz = make_node("rviz")
    for display in displays:
        topic = display["Topic"]
        name = topic["Value"]
        assert wait_until(lambda n=name: rviz.get_publishers_info_by_topic(n)), name
        (publisher,) = rviz.get_publishers_info_by_topic(name)
        assert publisher.topic_type == TYPES[display["Class"].rpartition("/")[2]], name
        qos = publisher.qos_profile
        durable = qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
        assert (topic["Durability Policy"] == "Transient Local") == durable, name
        reliable = qos.reliability == ReliabilityPolicy.RELIABLE
        assert (topic["Reliability Policy"] == "Reliable") == reliable, name
