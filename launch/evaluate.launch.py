"""A live run, scored: replay, mapping, query and scorer node; ends with a report.

ros2 launch semantic_field evaluate.launch.py input:=/data/my_bag protocol:=online out:=/tmp/report
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile, ParameterValue
from launch_ros.substitutions import FindPackageShare

from semantic_field.config import ReplayNodeConfig, SourceConfig, walk

ARGUMENTS = {
    "input": ("room", "folder, rosbag2, a published layout or room[:seed=3,frames=60]"),
    "protocol": ("online", "name or YAML file: split, budget in seconds, what is scored"),
    "out": ("evaluation", "folder of report.json and report.html"),
    "rate": ("1.0", "speed of the replay"),
    "frame_rate_hz": ("5.0", "frames per second of a recording without stamps"),
    "up": ("+z", "axis of the recording's world that points up"),
}
# How the recording is read: the same names as on the command line.
READING = {name: (str(value), item.metadata["doc"]) for name, item, value in walk(SourceConfig())}
# The scorer hears only what is held out, the mapping node only the rest.
HELD_OUT = (
    "color/image",
    "color/camera_info",
    "depth/image",
    "depth/camera_info",
    "labels/image",
    "labels/label_info",
)


def typed(name: str, kind: type) -> ParameterValue:
    return ParameterValue(LaunchConfiguration(name), value_type=kind)


def generate_launch_description() -> LaunchDescription:
    share = FindPackageShare("semantic_field")
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in (ARGUMENTS | READING).items()
    ]
    arguments.append(
        DeclareLaunchArgument(
            "params_file",
            default_value=PathJoinSubstitution([share, "config", "mapping.yaml"]),
            description="parameters of the nodes (YAML)",
        )
    )
    settings = walk(SourceConfig())
    reading = {f"source.{name}": typed(name, type(value)) for name, _, value in settings}
    common = {"package": "semantic_field", "output": "screen"}
    replay = Node(
        executable="replay_node",
        name="replay_node",
        parameters=[
            {
                "input": typed("input", str),
                "protocol": typed("protocol", str),
                "rate": typed("rate", float),
                "frame_rate_hz": typed("frame_rate_hz", float),
                **reading,
            }
        ],
        **common,
    )
    mapping = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([share, "launch", "mapping.launch.py"])),
        launch_arguments={
            "input_qos": "reliable",
            "use_sim_time": "true",
            "pose_source": "tf",
            "global_frame": ReplayNodeConfig().global_frame,
            "params_file": LaunchConfiguration("params_file"),
            "up": LaunchConfiguration("up"),
            # A map of an evaluation never takes the place of the robot's own.
            "map_path": PathJoinSubstitution([LaunchConfiguration("out"), "map.safetensors"]),
        }.items(),
    )
    scorer = Node(
        executable="scorer_node",
        name="scorer_node",
        parameters=[
            ParameterFile(LaunchConfiguration("params_file"), allow_substs=True),
            {
                "use_sim_time": True,
                "input.input_qos": "reliable",
                "recording": typed("input", str),
                "protocol": typed("protocol", str),
                "out": typed("out", str),
                "query.up": typed("up", str),
                **reading,
            },
        ],
        remappings=[(name, f"held_out/{name}") for name in HELD_OUT],
        on_exit=Shutdown(reason="the report is written"),
        **common,
    )
    # What an included file is given stays set: mapping comes last.
    return LaunchDescription([*arguments, replay, scorer, mapping])
