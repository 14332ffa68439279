"""Mapping and query node for a robot that is already running; inference node on request.

ros2 launch semantic_field mapping.launch.py color:=/camera/color/image_raw \
    depth:=/camera/aligned_depth_to_color/image_raw camera_info:=/camera/color/camera_info
"""

from launch import LaunchDescription
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from semantic_field.nodes.ros import inference_launch, launch_parts


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
        remappings=inference_launch.mapping_remappings(),
        **common,
    )
    query = Node(
        executable="query_node",
        name="query_node",
        parameters=launch_parts.query_parameters(),
        **common,
    )
    inference = inference_launch.inference_node(
        follow=inference_launch.WithDenseLabels("camera", "follow"),
        condition=IfCondition(launch_parts.Truth("inference")),
    )
    arguments = launch_parts.declared(
        launch_parts.MAPPING_ARGUMENTS
        | inference_launch.WITH_MAPPING
        | inference_launch.INFERENCE_ARGUMENTS
    )
    return LaunchDescription([*arguments, launch_parts.rviz(), mapping, query, inference])
