"""Mapping and query node in one process, with input:=… the replay of a recording in it as well.

One torch and one map in memory in place of two or three. Arguments are those of mapping.launch.py
and, for a replay, of demo.launch.py.

ros2 launch semantic_field single_process.launch.py color:=/camera/color/image_raw …
ros2 launch semantic_field single_process.launch.py input:=/data/my_bag
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction, SetLaunchConfiguration
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from semantic_field.nodes.ros import launch_parts

INPUT = {"input": ("", "folder, rosbag2 or room[:seed=3] to be replayed; empty = a running robot")}
# What has another default in a replay.
OF_REPLAY = {"input_qos", "use_sim_time"}


def is_replay(context: LaunchContext) -> bool:
    return bool(LaunchConfiguration("input").perform(context))


def replay_defaults(context: LaunchContext) -> list[SetLaunchConfiguration]:
    """The defaults of a replay, unless the user has given a value."""
    names = OF_REPLAY - set(context.launch_configurations) if is_replay(context) else ()
    return [SetLaunchConfiguration(n, launch_parts.REPLAY_ARGUMENTS[n][0]) for n in names]


def process(context: LaunchContext) -> list[Node]:
    """All nodes; parameters and remappings reach each of them, and it takes its own."""
    nodes = ["mapping_node", "query_node"]
    parameters = [*launch_parts.mapping_parameters(), *launch_parts.query_parameters()]
    if is_replay(context):
        nodes += ["replay_node"]
        parameters += launch_parts.replay_parameters()
    return [
        Node(
            package="semantic_field",
            executable="single_process",
            namespace=LaunchConfiguration("namespace"),
            output="screen",
            arguments=nodes,
            ros_arguments=["--log-level", LaunchConfiguration("log_level")],
            parameters=parameters,
            remappings=launch_parts.remappings(),
        )
    ]


def generate_launch_description() -> LaunchDescription:
    own = set(INPUT) | OF_REPLAY
    of_replay = launch_parts.REPLAY_ARGUMENTS | launch_parts.READING_ARGUMENTS
    replay = {n: about for n, about in of_replay.items() if n not in own}
    return LaunchDescription(
        [
            *launch_parts.declared(INPUT),
            OpaqueFunction(function=replay_defaults),
            *launch_parts.declared(replay),
            launch_parts.topics_of_bag(),
            *launch_parts.declared(launch_parts.MAPPING_ARGUMENTS),
            launch_parts.rviz(),
            OpaqueFunction(function=process),
        ]
    )
