"""Shared parts of the launch files: tables of launch arguments, and typed node parameters.

The launch files mapping, demo and single_process share the tables.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Container, Mapping
from importlib.util import find_spec
from pathlib import Path

from launch import LaunchContext, Substitution
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetLaunchConfiguration
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, SubstitutionFailure
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile, ParameterValue
from launch_ros.substitutions import FindPackageShare

from semantic_field.config import ReplayNodeConfig, SourceConfig
from semantic_field.data.bag_files import is_bag
from semantic_field.settings import walk

TRUE = ("true", "1", "yes", "on")
FALSE = ("false", "0", "no", "off")

# name: (default, description[, choices])
MAPPING_ARGUMENTS = {
    "color": ("color/image", "colour image topic (rgb8, bgr8, rgba8, bgra8, mono8)"),
    "depth": ("depth/image", "depth image topic, registered to colour (32FC1 m or 16UC1 mm)"),
    "camera_info": ("color/camera_info", "CameraInfo topic of the colour camera"),
    "depth_camera_info": ("depth/camera_info", "CameraInfo topic of the depth image"),
    "labels": ("labels/image", "optional topic of class ids (mono8 or 16UC1)"),
    "label_info": ("labels/label_info", "optional topic of class names (vision_msgs/LabelInfo)"),
    "pose": ("pose", "topic of camera poses (PoseStamped), used with pose_source:=pose"),
    "pose_frame": ("", "frame that these poses are of; empty = the camera's optical frame"),
    "odometry": ("odometry", "topic of odometry, used with pose_source:=odometry"),
    "tf": ("/tf", "topic of moving transforms"),
    "tf_static": ("/tf_static", "topic of static transforms"),
    "namespace": ("", "namespace of all nodes"),
    "global_frame": ("map", "frame the map is built in, z up"),
    "up": ("+z", "axis of global_frame that points up", ("+z", "-z", "+y", "-y", "+x", "-x")),
    "pose_source": ("tf", "where poses come from", ("tf", "pose", "odometry")),
    "color_transport": ("raw", "transport of the colour images", ("raw", "compressed")),
    "depth_transport": (
        "raw",
        "transport of the depth images",
        ("raw", "compressed", "compressedDepth"),
    ),
    "rectified": (
        "false",
        "true or false: the images are rectified (topics named image_rect… say so by themselves)",
    ),
    "input_qos": ("sensor_data", "reliability of the images", ("sensor_data", "reliable")),
    "teacher": (
        "label_text",
        "language teacher",
        ("label_text", "vocabulary", "open_clip", "none"),
    ),
    "checkpoint": ("", "file or folder of the teacher's weights, if it needs any"),
    "architecture": ("ViT-B-16", "open_clip's name, or a JSON file, of the weights' architecture"),
    "language_source": ("labels", "what language is learnt from", ("labels", "images")),
    "priors": ("", "folder of the priors of objects; empty = those of the package"),
    "map_path": (
        "",
        "file of save_map and load_map, written at shutdown; "
        "empty = $ROS_HOME/semantic_field/map.safetensors",
    ),
    "load_map": ("false", "true or false: go on with the map in map_path"),
    "autostart": ("true", "true or false: start without a lifecycle manager"),
    "use_sim_time": ("false", "true or false: take time from /clock"),
    "rviz": ("false", "true or false: open RViz with this package's displays"),
    "log_level": ("info", "least severity that is printed"),
    "params_file": (
        PathJoinSubstitution([FindPackageShare("semantic_field"), "config", "mapping.yaml"]),
        "parameters of the nodes (YAML)",
    ),
}
REPLAY_ARGUMENTS = {
    "input": ("room", "folder, rosbag2, or room[:seed=3,frames=60] (simulated)"),
    "rate": ("1.0", "speed of the replay; 2.0 = twice as fast as recorded"),
    "frame_rate_hz": ("5.0", "frames per second of a recording without stamps"),
    "loop": ("false", "true or false: start again at the end"),
    "step": ("false", "true or false: one frame for each call of replay_node/step"),
    "wait": ("300.0", "longest wait for the mapping node and its compiled kernels, seconds"),
    # Other defaults than in mapping: a replay must not lose frames.
    "input_qos": ("reliable", *MAPPING_ARGUMENTS["input_qos"][1:]),
    "use_sim_time": ("true", *MAPPING_ARGUMENTS["use_sim_time"][1:]),
}
# How a recording is read: same names as on the command line.
_READING = {name: (str(value), item.metadata["doc"]) for name, item, value in walk(SourceConfig())}
# These two exist as mapping arguments too, which are used if there is a mapping node.
READING_POSES = {name: _READING.pop(name) for name in ("pose_source", "global_frame")}
READING_ARGUMENTS = _READING
REMAPPINGS = {
    "color/image": "color",
    "color/camera_info": "camera_info",
    "depth/image": "depth",
    "depth/camera_info": "depth_camera_info",
    "labels/image": "labels",
    "labels/label_info": "label_info",
    "pose": "pose",
    "odometry": "odometry",
    "/tf": "tf",
    "/tf_static": "tf_static",
}


class Truth(Substitution):
    """Substitution of a boolean launch argument: "true" or "false" for any common spelling.

    ROS 2's launch conditions do not accept "yes", and its parameters do not accept "1".

    Args:
        other: additional words that are returned unchanged.
    """

    def __init__(self, name: str, other: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.name, self.other = name, other

    def describe(self) -> str:
        return f"Truth({self.name})"

    def perform(self, context: LaunchContext) -> str:
        given = LaunchConfiguration(self.name).perform(context)
        word = given.strip().lower()
        if word in self.other:
            return word
        if word not in TRUE + FALSE:
            raise SubstitutionFailure(
                f"launch argument {self.name!r}: expected true or false (or 1, 0, yes, no, on, "
                f"off), got {given!r}; write {self.name}:=true"
            )
        return str(word in TRUE).lower()


def declared(arguments: Mapping[str, tuple]) -> list[DeclareLaunchArgument]:
    """Return the declarations of a table of launch arguments."""
    return [
        DeclareLaunchArgument(
            name,
            default_value=default,
            description=description,
            choices=list(choices[0]) if choices else None,
        )
        for name, (default, description, *choices) in arguments.items()
    ]


def typed(name: str, kind: type) -> ParameterValue:
    """Return a launch argument as a typed parameter value: text stays text even if numeric."""
    value = Truth(name) if kind is bool else LaunchConfiguration(name)
    return ParameterValue(value, value_type=kind)


def teacher_parameters() -> dict[str, ParameterValue]:
    """Return the teacher parameters of mapping and query node; ``params_file`` overrides them."""
    names = {"kind": "teacher", "path": "checkpoint", "architecture": "architecture"}
    return {f"teacher.{name}": typed(argument, str) for name, argument in names.items()}


def mapping_parameters() -> list:
    """Return the mapping node's parameters; later entries override earlier ones."""
    texts = (
        "global_frame", "pose_source", "pose_frame", "color_transport", "depth_transport",
        "input_qos",
    )  # fmt: skip
    return [
        teacher_parameters() | {"language.source": typed("language_source", str)},
        ParameterFile(LaunchConfiguration("params_file"), allow_substs=True),
        {
            "use_sim_time": typed("use_sim_time", bool),
            "autostart": typed("autostart", bool),
            "map_path": typed("map_path", str),
            "load_map_at_start": typed("load_map", bool),
            "input.rectified": typed("rectified", bool),
            **{f"input.{name}": typed(name, str) for name in texts},
        },
    ]


def query_parameters() -> list:
    """Return the query node's parameters."""
    return [
        teacher_parameters(),
        ParameterFile(LaunchConfiguration("params_file"), allow_substs=True),
        {
            "use_sim_time": typed("use_sim_time", bool),
            "query.up": typed("up", str),
            "completion.priors": typed("priors", str),
        },
    ]


def replay_parameters() -> list:
    """Return the replay node's parameters."""
    kinds = {"input": str, "rate": float, "frame_rate_hz": float, "loop": bool, "step": bool}
    poses = {f"source.{name}": typed(f"replayed_{name}", str) for name in READING_POSES}
    own = {name: typed(name, kind) for name, kind in kinds.items()}
    return [own | reading_parameters(READING_ARGUMENTS) | poses | waiting()]


def reading_parameters(
    names: Container[str] = READING_ARGUMENTS | READING_POSES,
) -> dict[str, ParameterValue]:
    """Return the ``source.*`` parameters: how replay and scorer node read a recording."""
    kinds = {name: type(value) for name, _, value in walk(SourceConfig()) if name in names}
    return {f"source.{name}": _reading(name, kind) for name, kind in kinds.items()}


def _reading(name: str, kind: type) -> ParameterValue:
    if name == "register":
        return ParameterValue(Truth(name, ("auto",)), value_type=kind)
    return typed(name, kind)


def waiting() -> dict:
    """Return the parameters that make a replay wait until the mapping node is ready."""
    return {"wait_for_mapping": True, "wait_for_subscriber_s": typed("wait", float)}


def remappings() -> list[tuple[str, LaunchConfiguration]]:
    """Return the remappings of the mapping node's inputs to the topic arguments."""
    return [(topic, LaunchConfiguration(argument)) for topic, argument in REMAPPINGS.items()]


def rviz() -> Node:
    """Return the action that starts RViz with this package's displays if ``rviz`` is true."""
    displays = [FindPackageShare("semantic_field"), "config", "semantic_field.rviz"]
    return Node(
        package="rviz2",
        executable="rviz2",
        name="rviz2",
        arguments=["-d", PathJoinSubstitution(displays)],
        condition=IfCondition(Truth("rviz")),
    )


def topics_of_bag() -> OpaqueFunction:
    """Return an action that sets the topic arguments to the topics of the bag in ``input``.

    Arguments given by the user are kept. ``replayed_pose_source`` and ``replayed_global_frame``
    are set to the user's settings for reading the recording's poses. Without a bag, topic names
    keep their defaults.
    """

    def found(context: LaunchContext) -> list[SetLaunchConfiguration]:
        given = context.launch_configurations
        location, path = given["input"], Path(given["input"]).expanduser()
        texts = READING_ARGUMENTS | READING_POSES
        reading = {name: given.get(name, default) for name, (default, _) in texts.items()}
        if "register" in given:
            reading["register"] = Truth("register", ("auto",)).perform(context)
        plain = not SourceConfig.of_texts(reading).changes_images
        topics = {f"replayed_{name}": reading[name] for name in READING_POSES}
        if location and not location.startswith("room") and is_bag(path) and plain:
            found = bag_arguments(path, reading)
            topics |= {name: topic for name, topic in found.items() if name not in given}
        elif location:  # what the replay node publishes itself
            topics |= {"pose_source": "tf", "global_frame": ReplayNodeConfig().global_frame}
        return [SetLaunchConfiguration(name, topic) for name, topic in topics.items()]

    return OpaqueFunction(function=found)


def bag_arguments(path: Path, reading: Mapping[str, str]) -> dict[str, str]:
    """Return the topics of a bag as arguments of mapping.launch.py.

    ``ros2`` may run under the system's Python while ``rosbags`` is installed only in the active
    environment, so the bag is read by a process of that environment.

    Raises:
        RuntimeError: if the bag cannot be read.
    """
    python = sys.executable if find_spec("rosbags") else "python3"
    command = [python, "-m", "semantic_field.data.bag_launch", str(path), json.dumps(reading)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    sys.stderr.write(done.stderr)  # warnings about the bag
    return json.loads(done.stdout)
