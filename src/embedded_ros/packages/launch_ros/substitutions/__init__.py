"""Where packages and their executables are."""

from __future__ import annotations

from ament_index_python.packages import get_package_prefix, get_package_share_directory
from launch.launch_context import LaunchContext
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.substitution import Substitution
from launch.substitutions import PathJoinSubstitution
from launch.utilities import describe, text_of

from launch_ros._executables import executable_command


class _Find(Substitution):
    def __init__(self, package: SomeSubstitutionsType) -> None:
        self.package = package

    def describe(self) -> str:
        return f"{type(self).__name__}({describe(self.package)})"

    def __truediv__(self, part: SomeSubstitutionsType) -> PathJoinSubstitution:
        return PathJoinSubstitution([self, part])


class FindPackageShare(_Find):
    """The folder of a package's launch files and settings."""

    def perform(self, context: LaunchContext) -> str:
        return get_package_share_directory(text_of(context, self.package))


class FindPackagePrefix(_Find):
    """The prefix a package is installed under."""

    def perform(self, context: LaunchContext) -> str:
        return get_package_prefix(text_of(context, self.package))


FindPackage = FindPackagePrefix


class ExecutableInPackage(Substitution):
    """The command that runs an executable of a package."""

    def __init__(self, executable: SomeSubstitutionsType, package: SomeSubstitutionsType) -> None:
        self.executable = executable
        self.package = package

    def describe(self) -> str:
        return f"ExecInPkg({describe(self.package)}, {describe(self.executable)})"

    def perform(self, context: LaunchContext) -> str:
        package = text_of(context, self.package)
        return " ".join(executable_command(package, text_of(context, self.executable)).command)


__all__ = ["ExecutableInPackage", "FindPackage", "FindPackagePrefix", "FindPackageShare"]
