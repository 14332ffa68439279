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

from semantic_field.config import ReplayNodeConfig, SourceConfig, updated, walk
from semantic_field.data.bag_files import is_bag

# How the recording is read: the same names as on the command line.
READING = {name: (str(value), item.metadata["doc"]) for name, item, value in walk(SourceConfig())}
READING_KINDS = {name: type(value) for name, _, value in walk(SourceConfig())}
ARGUMENTS = {
    "input": ("room", str, "folder, rosbag2, or room[:seed=3,frames=60] (simulated)"),
    "rate": ("1.0", float, "speed of the replay; 2.0 = twice as fast as recorded"),
    "frame_rate_hz": ("5.0", float, "frames per second of a recording without stamps"),
    "loop": ("false", bool, "start again at the end"),
    "step": ("false", bool, "publish one frame for each call of replay_node/step"),
}


def bag_arguments(path: Path, reading: dict[str, str]) -> dict[str, str]:
    """The topics of a bag as arguments of mapping.launch.py.

    ``ros2`` itself may run under the system's Python while what the nodes need is in the active
    environment, so that environment is asked.
    """
    python = sys.executable if find_spec("rosbags") else "python3"
    command = [python, "-m", "semantic_field.data.bag_launch", str(path), json.dumps(reading)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout)


def reading_config(texts: dict[str, str]) -> SourceConfig:
    """The settings that the arguments say."""
    values = {name: READING_KINDS[name](text) for name, text in texts.items()}
    return updated(SourceConfig(), values)


def typed(name: str, kind: type) -> ParameterValue:
    return ParameterValue(LaunchConfiguration(name), value_type=kind)


def nodes(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The replay node, and mapping.launch.py listening to what it plays."""
    location = LaunchConfiguration("input").perform(context)
    # A recording must not lose frames on the way: reliable input.
    arguments = {"input_qos": "reliable", "use_sim_time": "true"}
    # What the replay node publishes itself; a bag has its own.
    played = ReplayNodeConfig()
    arguments |= {"pose_source": "tf", "global_frame": played.global_frame}
    reading = {name: LaunchConfiguration(name).perform(context) for name in READING}
    bag = Path(location).expanduser()
    plain = not reading_config(reading).changes_images
    if not location.startswith("room") and is_bag(bag) and plain:
        arguments |= bag_arguments(bag, reading)
    replay = Node(
        package="semantic_field",
        executable="replay_node",
        name="replay_node",
        output="screen",
        parameters=[
            {name: typed(name, kind) for name, (_, kind, _) in ARGUMENTS.items()}
            | {f"source.{name}": typed(name, kind) for name, kind in READING_KINDS.items()}
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
    arguments += [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in READING.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=nodes)])
