"""Actions of launch files that run nodes, or apply to nodes."""

from launch.supported import names_of

from launch_ros.actions.node import Node
from launch_ros.actions.scoping import PushROSNamespace, PushRosNamespace, SetParameter

__all__ = ["Node", "PushROSNamespace", "PushRosNamespace", "SetParameter"]
__getattr__ = names_of(__name__, __all__)
