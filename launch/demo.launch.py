"""The whole system on a recording: replay, mapping and query node.

ros2 launch semantic_field demo.launch.py input:=/data/my_bag rviz:=true
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = {
    "input": ("room", str, "folder, rosbag2, or room[:seed=3,frames=60] (simulated)"),
    "rate": ("1.0", float, "speed of the replay; 2.0 = twice as fast as recorded"),
    "frame_rate_hz": ("5.0", float, "frames per second of a recording without stamps"),
    "loop": ("false", bool, "start again at the end"),
    "step": ("false", bool, "publish one frame for each call of replay_node/step"),
}


def generate_launch_description() -> LaunchDescription:
    share = FindPackageShare("semantic_field")
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, _, description) in ARGUMENTS.items()
    ]
    parameters = {
        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
        for name, (_, kind, _) in ARGUMENTS.items()
    }
    replay = Node(
        package="semantic_field",
        executable="replay_node",
        name="replay_node",
        output="screen",
        parameters=[parameters],
    )
    # A recording must not lose frames on the way: reliable input.
    mapping = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([share, "launch", "mapping.launch.py"])),
        launch_arguments={"input_qos": "reliable", "use_sim_time": "true"}.items(),
    )
    return LaunchDescription([*arguments, replay, mapping])
