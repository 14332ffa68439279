"""Where an included launch description comes from."""

from __future__ import annotations

from launch.entities import LaunchDescription
from launch.launch_context import LaunchContext
from launch.substitution import SomeSubstitutionsType, SubstitutionFailure, describe, text_of


class InvalidLaunchFileError(ValueError):
    """The file is no launch file, or of a kind that is not read here."""


class LaunchDescriptionSource:
    """A launch description made of the file at ``launch_file_path``; subclasses say how."""

    def __init__(self, launch_file_path: SomeSubstitutionsType) -> None:
        self._given = launch_file_path
        self._path: str | None = None
        self._description: LaunchDescription | None = None

    @property
    def location(self) -> str:
        """The path where it is known, the substitutions in words before."""
        return self._path or describe(self._given)

    def get_launch_description(self, context: LaunchContext) -> LaunchDescription:
        """The description, read at the first call.

        Raises:
            FileNotFoundError: there is no such file.
            InvalidLaunchFileError: it is no launch file.
        """
        path = text_of(context, self._given)
        if self._description is None or path != self._path:
            self._description = self._read(path)
            self._path = path
        return self._description

    def try_get_launch_description_without_context(self) -> LaunchDescription | None:
        """The description, or None where its place is not known before the launch."""
        try:
            return self.get_launch_description(LaunchContext())
        except (SubstitutionFailure, LookupError, FileNotFoundError):
            return None

    def _read(self, path: str) -> LaunchDescription:
        raise NotImplementedError
