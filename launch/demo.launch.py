"""The whole system on a recording: replay, mapping and query node.

A bag is played as it is; its topics are found by type and name. Further arguments are those of
mapping.launch.py.

ros2 launch semantic_field demo.launch.py input:=/data/my_bag rviz:=true
"""

from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from semantic_field.nodes.ros import launch_parts


def generate_launch_description() -> LaunchDescription:
    path = PathJoinSubstitution([FindPackageShare("semantic_field"), "launch", "mapping.launch.py"])
    replay = Node(
        package="semantic_field",
        executable="replay_node",
        name="replay_node",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        parameters=launch_parts.replay_parameters(),
    )
    return LaunchDescription(
        [
            *launch_parts.declared(launch_parts.REPLAY_ARGUMENTS | launch_parts.READING_ARGUMENTS),
            launch_parts.topics_of_bag(),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(path)),
            replay,
        ]
    )
