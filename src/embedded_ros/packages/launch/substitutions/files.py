"""Where the launch file is, where logs go, what a file holds."""

from __future__ import annotations

from pathlib import Path

from launch.launch_context import LaunchContext
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.substitution import Substitution
from launch.substitutions.substitution_failure import SubstitutionFailure
from launch.utilities import text_of


class _CurrentFile(Substitution):
    _local = ""

    def perform(self, context: LaunchContext) -> str:
        values = context.get_locals_as_dict()
        if self._local not in values:
            raise SubstitutionFailure(f"{type(self).__name__}: no launch file is being read")
        return str(values[self._local])


class ThisLaunchFile(_CurrentFile):
    """The path of the launch file this is written in."""

    _local = "current_launch_file_path"


class ThisLaunchFileDir(_CurrentFile):
    """The folder of the launch file this is written in."""

    _local = "current_launch_file_directory"


class LaunchLogDir(Substitution):
    """The folder of this launch's log files."""

    def perform(self, context: LaunchContext) -> str:
        from launch.logging import launch_config

        return str(launch_config.log_dir)


class FileContent(Substitution):
    """The text of a file."""

    def __init__(self, path: SomeSubstitutionsType) -> None:
        self.path = path

    def perform(self, context: LaunchContext) -> str:
        path = Path(text_of(context, self.path))
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SubstitutionFailure(f"cannot read {path}: {error}") from error
