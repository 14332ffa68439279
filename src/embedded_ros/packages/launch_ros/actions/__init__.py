"""What a launch file can do with nodes."""

from typing import Any

from launch_ros.actions.node import LifecycleNode, Node
from launch_ros.actions.scoping import (
    PushROSNamespace,
    PushRosNamespace,
    SetParameter,
    SetParametersFromFile,
    SetRemap,
    SetUseSimTime,
)

_NEEDS_ROS = ("ComposableNodeContainer", "LoadComposableNodes", "LifecycleTransition", "RosTimer")


def __getattr__(name: str) -> Any:
    if name in _NEEDS_ROS:
        raise ImportError(f"launch_ros.actions.{name} needs ROS 2, which is not on this machine")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "LifecycleNode",
    "Node",
    "PushROSNamespace",
    "PushRosNamespace",
    "SetParameter",
    "SetParametersFromFile",
    "SetRemap",
    "SetUseSimTime",
]
