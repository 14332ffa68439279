"""Actions of launch files."""

from launch.actions.control import OpaqueFunction, RegisterEventHandler, Shutdown
from launch.actions.execute_process import ExecuteProcess
from launch.actions.settings import (
    DeclareLaunchArgument,
    SetEnvironmentVariable,
    SetLaunchConfiguration,
)
from launch.actions.structure import GroupAction, IncludeLaunchDescription
from launch.supported import names_of

__all__ = [
    "DeclareLaunchArgument",
    "ExecuteProcess",
    "GroupAction",
    "IncludeLaunchDescription",
    "OpaqueFunction",
    "RegisterEventHandler",
    "SetEnvironmentVariable",
    "SetLaunchConfiguration",
    "Shutdown",
]
__getattr__ = names_of(__name__, __all__)
