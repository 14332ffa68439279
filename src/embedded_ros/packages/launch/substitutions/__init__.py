"""Texts that are known only when the launch runs."""

from launch.substitutions.boolean import (
    AllSubstitution,
    AndSubstitution,
    AnySubstitution,
    EqualsSubstitution,
    IfElseSubstitution,
    NotEqualsSubstitution,
    NotSubstitution,
    OrSubstitution,
)
from launch.substitutions.commands import Command, FindExecutable, PythonExpression
from launch.substitutions.files import (
    FileContent,
    LaunchLogDir,
    ThisLaunchFile,
    ThisLaunchFileDir,
)
from launch.substitutions.substitution_failure import SubstitutionFailure
from launch.substitutions.texts import (
    AnonName,
    EnvironmentVariable,
    LaunchConfiguration,
    LocalSubstitution,
    PathJoinSubstitution,
    PathSubstitution,
    StringJoinSubstitution,
    TextSubstitution,
)

EnvironmentVariableSubstitution = EnvironmentVariable

__all__ = [
    "AllSubstitution",
    "AndSubstitution",
    "AnonName",
    "AnySubstitution",
    "Command",
    "EnvironmentVariable",
    "EqualsSubstitution",
    "FileContent",
    "FindExecutable",
    "IfElseSubstitution",
    "LaunchConfiguration",
    "LaunchLogDir",
    "LocalSubstitution",
    "NotEqualsSubstitution",
    "NotSubstitution",
    "OrSubstitution",
    "PathJoinSubstitution",
    "PathSubstitution",
    "PythonExpression",
    "StringJoinSubstitution",
    "SubstitutionFailure",
    "TextSubstitution",
    "ThisLaunchFile",
    "ThisLaunchFileDir",
]
