"""Substitutions for the folders of packages."""

from __future__ import annotations

from ament_index_python.packages import get_package_share_directory
from launch.launch_context import LaunchContext
from launch.substitution import SomeSubstitutionsType, Substitution, text_of
from launch.supported import names_of


class FindPackageShare(Substitution):
    """The share folder of a package, which contains its launch files and settings."""

    def __init__(self, package: SomeSubstitutionsType) -> None:
        self.package = package

    def perform(self, context: LaunchContext) -> str:
        return get_package_share_directory(text_of(context, self.package))


__all__ = ["FindPackageShare"]
__getattr__ = names_of(__name__, __all__)
