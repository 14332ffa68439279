"""Mapping and query node for a robot that is already running.

ros2 launch semantic_field mapping.launch.py color:=/camera/color/image_raw \
    depth:=/camera/aligned_depth_to_color/image_raw camera_info:=/camera/color/camera_info
"""

from launch import LaunchDescription
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from semantic_field.nodes.ros import launch_parts


def generate_launch_description() -> LaunchDescription:
    common = {
        "package": "semantic_field",
        "namespace": LaunchConfiguration("namespace"),
        "output": "screen",
        "ros_arguments": ["--log-level", LaunchConfiguration("log_level")],
    }
    mapping = Node(
        executable="mapping_node",
        name="mapping_node",
        parameters=launch_parts.mapping_parameters(),
        remappings=launch_parts.remappings(),
        **common,
    )
    query = Node(
        executable="query_node",
        name="query_node",
        parameters=launch_parts.query_parameters(),
        **common,
    )
    arguments = launch_parts.declared(launch_parts.MAPPING_ARGUMENTS)
    return LaunchDescription([*arguments, launch_parts.rviz(), mapping, query])
