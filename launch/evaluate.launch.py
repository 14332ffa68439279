"""A live run, scored: replay, mapping, query and scorer node; ends with a report.

ros2 launch semantic_field evaluate.launch.py input:=/data/my_bag protocol:=online out:=/tmp/report
"""

from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile
from launch_ros.substitutions import FindPackageShare

from semantic_field.config import ReplayNodeConfig
from semantic_field.nodes.ros import launch_parts
from semantic_field.nodes.ros.launch_parts import typed

ARGUMENTS = {
    "input": ("room", "folder, rosbag2, a published layout or room[:seed=3,frames=60]"),
    "protocol": ("online", "name or YAML file: split, budget in seconds, what is scored"),
    "out": ("evaluation", "folder of report.json and report.html"),
    "rate": ("1.0", "speed of the replay"),
    "frame_rate_hz": ("5.0", "frames per second of a recording without stamps"),
    "wait": launch_parts.REPLAY_ARGUMENTS["wait"],
    "up": ("+z", "axis of the recording's world that points up"),
    "params_file": launch_parts.MAPPING_ARGUMENTS["params_file"],
    **launch_parts.READING_ARGUMENTS,
    **launch_parts.READING_POSES,
}
# The scorer hears only what is held out, the mapping node only the rest.
HELD_OUT = (
    "color/image",
    "color/camera_info",
    "depth/image",
    "depth/camera_info",
    "labels/image",
    "labels/label_info",
)


def generate_launch_description() -> LaunchDescription:
    share = FindPackageShare("semantic_field")
    reading = launch_parts.reading_parameters()
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
                **launch_parts.waiting(),
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
    arguments = launch_parts.declared(ARGUMENTS)
    # What an included file is given stays set: mapping comes last.
    return LaunchDescription([*arguments, replay, scorer, mapping])
