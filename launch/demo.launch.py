"""The whole system on a recording: replay, mapping and query node.

A bag is played as it is; its topics are found by type and name. Further arguments are those of
mapping.launch.py.

ros2 launch semantic_field demo.launch.py input:=/data/my_bag rviz:=true
"""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from semantic_field.data.bag_files import is_bag

ARGUMENTS = {
    "input": ("room", str, "folder, rosbag2, or room[:seed=3,frames=60] (simulated)"),
    "rate": ("1.0", float, "speed of the replay; 2.0 = twice as fast as recorded"),
    "frame_rate_hz": ("5.0", float, "frames per second of a recording without stamps"),
    "loop": ("false", bool, "start again at the end"),
    "step": ("false", bool, "publish one frame for each call of replay_node/step"),
}


def bag_arguments(path: Path) -> dict[str, str]:
    """The topics of a bag as arguments of mapping.launch.py.

    ``ros2`` itself may run under the system's Python while what the nodes need is in the active
    environment, so that environment is asked.
    """
    python = sys.executable if find_spec("rosbags") else "python3"
    command = [python, "-m", "semantic_field.data.bag_launch", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    sys.stderr.write(done.stderr)  # what is doubtful about the bag
    return json.loads(done.stdout)


def nodes(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The replay node, and mapping.launch.py listening to what it plays."""
    location = LaunchConfiguration("input").perform(context)
    # A recording must not lose frames on the way: reliable input.
    arguments = {"input_qos": "reliable", "use_sim_time": "true"}
    if not location.startswith("room") and is_bag(Path(location).expanduser()):
        arguments |= bag_arguments(Path(location).expanduser())
    replay = Node(
        package="semantic_field",
        executable="replay_node",
        name="replay_node",
        output="screen",
        parameters=[
            {
                name: ParameterValue(LaunchConfiguration(name), value_type=kind)
                for name, (_, kind, _) in ARGUMENTS.items()
            }
        ],
    )
    path = PathJoinSubstitution([FindPackageShare("semantic_field"), "launch", "mapping.launch.py"])
    mapping = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(path), launch_arguments=arguments.items()
    )
    return [replay, mapping]


def generate_launch_description() -> LaunchDescription:
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, _, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=nodes)])
