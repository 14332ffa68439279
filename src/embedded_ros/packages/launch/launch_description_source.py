"""Base class of the sources of included launch descriptions."""

from __future__ import annotations

from launch.entities import LaunchDescription
from launch.launch_context import LaunchContext
from launch.substitution import SomeSubstitutionsType, SubstitutionFailure, describe, text_of


class InvalidLaunchFileError(ValueError):
    """The file is not a launch file, or of an unsupported format."""


class LaunchDescriptionSource:
    """A launch description in the file at ``launch_file_path``; subclasses read the file."""

    def __init__(self, launch_file_path: SomeSubstitutionsType) -> None:
        self._given = launch_file_path
        self._path: str | None = None
        self._description: LaunchDescription | None = None

    @property
    def location(self) -> str:
        """The path after the file has been read, before that a description of the substitutions."""
        return self._path or describe(self._given)

    def get_launch_description(self, context: LaunchContext) -> LaunchDescription:
        """Return the description; the file is read at the first call, or if the path changes.

        Raises:
            FileNotFoundError: if there is no such file.
            InvalidLaunchFileError: if it is not a launch file.
        """
        path = text_of(context, self._given)
        if self._description is None or path != self._path:
            self._description = self._read(path)
            self._path = path
        return self._description

    def try_get_launch_description_without_context(self) -> LaunchDescription | None:
        """Return the description, None if its file is not known before the launch or missing."""
        try:
            return self.get_launch_description(LaunchContext())
        except (SubstitutionFailure, LookupError, FileNotFoundError):
            return None

    def _read(self, path: str) -> LaunchDescription:
        raise NotImplementedError
