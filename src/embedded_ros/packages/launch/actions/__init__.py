"""What a launch file can do."""

from launch.actions.configuration import (
    AppendEnvironmentVariable,
    PopEnvironment,
    PopLaunchConfigurations,
    PushEnvironment,
    PushLaunchConfigurations,
    ResetEnvironment,
    ResetLaunchConfigurations,
    SetEnvironmentVariable,
    SetLaunchConfiguration,
    UnsetEnvironmentVariable,
    UnsetLaunchConfiguration,
)
from launch.actions.declare_launch_argument import DeclareLaunchArgument
from launch.actions.events import (
    EmitEvent,
    Log,
    LogError,
    LogInfo,
    LogWarning,
    RegisterEventHandler,
    Shutdown,
    UnregisterEventHandler,
)
from launch.actions.execute_process import ExecuteProcess
from launch.actions.grouping import (
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    TimerAction,
)

__all__ = [
    "AppendEnvironmentVariable",
    "DeclareLaunchArgument",
    "EmitEvent",
    "ExecuteProcess",
    "GroupAction",
    "IncludeLaunchDescription",
    "Log",
    "LogError",
    "LogInfo",
    "LogWarning",
    "OpaqueFunction",
    "PopEnvironment",
    "PopLaunchConfigurations",
    "PushEnvironment",
    "PushLaunchConfigurations",
    "RegisterEventHandler",
    "ResetEnvironment",
    "ResetLaunchConfigurations",
    "SetEnvironmentVariable",
    "SetLaunchConfiguration",
    "Shutdown",
    "TimerAction",
    "UnregisterEventHandler",
    "UnsetEnvironmentVariable",
    "UnsetLaunchConfiguration",
]
