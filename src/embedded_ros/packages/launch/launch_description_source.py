"""Where an included launch description comes from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from launch.some_substitutions_type import SomeSubstitutionsType
from launch.utilities import describe, text_of

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext
    from launch.launch_description import LaunchDescription


class LaunchDescriptionSource:
    """A launch description that is at hand, or made of the file at ``location``."""

    def __init__(
        self,
        launch_description: LaunchDescription | None = None,
        location: SomeSubstitutionsType = "<script>",
        method: str = "unspecified mechanism from a script",
    ) -> None:
        self._fixed = launch_description
        self._read_description: LaunchDescription | None = None
        self._location = location
        self._path: str | None = None
        self.method = method

    @property
    def location(self) -> str:
        """The path where it is known, the substitutions in words before."""
        return self._path or describe(self._location)

    def get_launch_description(self, context: LaunchContext) -> LaunchDescription:
        """The description, read at the first call.

        Raises:
            FileNotFoundError: there is no such file.
            InvalidLaunchFileError: it is no launch file.
        """
        if self._fixed is not None:
            return self._fixed
        path = text_of(context, self._location)
        if self._read_description is None or path != self._path:
            self._read_description = self._read(Path(path))
            self._path = path
        return self._read_description

    def try_get_launch_description_without_context(self) -> LaunchDescription | None:
        """The description, or None where its place is not known before the launch."""
        from launch.launch_context import LaunchContext
        from launch.substitutions import SubstitutionFailure

        try:
            return self.get_launch_description(LaunchContext())
        except (SubstitutionFailure, LookupError, FileNotFoundError):
            return None

    def _read(self, path: Path) -> LaunchDescription:
        raise ValueError(f"a {type(self).__name__} has no file: {path}")
