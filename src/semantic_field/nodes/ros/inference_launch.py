"""The inference node in launch files: arguments, parameters, and the action that starts it."""

from __future__ import annotations

from launch import LaunchContext, Substitution
from launch.actions import GroupAction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, SubstitutionFailure
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile, ParameterValue

from semantic_field.nodes.ros import launch_parts
from semantic_field.nodes.ros.launch_parts import Truth, typed

INFERENCE_ARGUMENTS = {
    "weights": ("gsnerf", "weights of the inference node: a name or a file"),
    "depth_from": (
        "sensor",
        "depth of the frames that it renders from",
        ("sensor", "volume", "map"),
    ),
    "follow": (
        "none",
        "camera: it renders at the pose of each image as well: labels at the rate of the camera",
        ("none", "camera"),
    ),
    "view_frame": ("", "TF frame (optical) of a virtual camera that it renders from"),
}
# Of mapping.launch.py alone:
WITH_MAPPING = {
    "inference": ("false", "true or false: start the inference node as well"),
    "dense_labels": (
        "false",
        "true or false: the mapping node learns from the inference node's labels, which follow the "
        "camera; needs inference:=true",
    ),
}
# What inference.launch.py has in common with mapping.launch.py.
_OF_MAPPING = (
    "teacher", "checkpoint", "architecture", "language_source", "map_path", "load_map", "up",
    "priors",
)  # fmt: skip
INPUT_ARGUMENTS = {
    name: about for name, about in launch_parts.MAPPING_ARGUMENTS.items() if name not in _OF_MAPPING
}


class WithDenseLabels(Substitution):
    """Substitution of a fixed text if ``dense_labels`` is true, else of a launch argument."""

    def __init__(self, text: str, argument: str) -> None:
        super().__init__()
        self.text, self.argument = text, argument

    def describe(self) -> str:
        return f"WithDenseLabels({self.text!r}, {self.argument})"

    def perform(self, context: LaunchContext) -> str:
        if Truth("dense_labels").perform(context) == "false":
            return LaunchConfiguration(self.argument).perform(context)
        if Truth("inference").perform(context) == "false":
            raise SubstitutionFailure(
                "launch argument 'dense_labels': expected inference:=true with it, which makes "
                "the labels, got false; write inference:=true dense_labels:=true"
            )
        return self.text


def mapping_remappings() -> list[tuple[str, Substitution]]:
    """Return the remappings of a mapping node beside an inference node."""
    dense = {"labels/image": "inference/label", "labels/label_info": "inference/label_info"}
    return [
        (topic, WithDenseLabels(dense[topic], argument) if topic in dense else given)
        for (topic, given), argument in zip(
            launch_parts.remappings(), launch_parts.REMAPPINGS.values(), strict=True
        )
    ]


def inference_node(follow: Substitution, condition: IfCondition | None = None) -> GroupAction:
    """Return the action that starts the inference node.

    Its threads sleep while they wait for each other: where other processes keep the processors
    busy, waiting threads that spin made a view take 20 s in place of 2.5 s (2 cores, load 12).

    Args:
        follow: value of its parameter ``follow``.
    """
    sleeping = SetEnvironmentVariable("OMP_WAIT_POLICY", "passive")
    return GroupAction([sleeping, _node(follow)], condition=condition)


def _node(follow: Substitution) -> Node:
    texts = {"weights": "weights", "depth": "depth_from", "view_frame": "view_frame"}
    inputs = (
        "global_frame", "pose_source", "pose_frame", "color_transport", "depth_transport",
        "input_qos",
    )  # fmt: skip
    own = {name: typed(argument, str) for name, argument in texts.items()}
    return Node(
        package="semantic_field",
        executable="inference_node",
        name="inference_node",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        parameters=[
            own | {"follow": ParameterValue(follow, value_type=str)},
            ParameterFile(LaunchConfiguration("params_file"), allow_substs=True),
            {
                "use_sim_time": typed("use_sim_time", bool),
                "autostart": typed("autostart", bool),
                "input.rectified": typed("rectified", bool),
                **{f"input.{name}": typed(name, str) for name in inputs},
            },
        ],
        remappings=launch_parts.remappings(),
    )
