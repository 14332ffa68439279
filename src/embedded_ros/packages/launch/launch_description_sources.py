"""Launch descriptions from files in Python, XML and YAML."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from launch.invalid_launch_file_error import InvalidLaunchFileError
from launch.launch_description import LaunchDescription
from launch.launch_description_source import LaunchDescriptionSource
from launch.some_substitutions_type import SomeSubstitutionsType

_ENTRY = "generate_launch_description"
_XML, _YAML = (".xml", ".launch"), (".yaml", ".yml")
_KINDS = "Python (.py), XML (.xml) or YAML (.yaml)"


class InvalidPythonLaunchFileError(InvalidLaunchFileError):
    """The Python file has no generate_launch_description()."""


class PythonLaunchDescriptionSource(LaunchDescriptionSource):
    """A Python file with ``generate_launch_description()``."""

    def __init__(self, launch_file_path: SomeSubstitutionsType) -> None:
        super().__init__(None, launch_file_path, "interpreted python launch file")

    def _read(self, path: Path) -> LaunchDescription:
        return get_launch_description_from_python_launch_file(str(path))


class FrontendLaunchDescriptionSource(LaunchDescriptionSource):
    """An XML or YAML launch file."""

    def __init__(self, launch_file_path: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(None, launch_file_path, "interpreted frontend launch file")

    def _read(self, path: Path) -> LaunchDescription:
        return get_launch_description_from_frontend_launch_file(str(path))


class AnyLaunchDescriptionSource(LaunchDescriptionSource):
    """A launch file in Python, XML or YAML."""

    def __init__(self, launch_file_path: SomeSubstitutionsType) -> None:
        super().__init__(None, launch_file_path, "interpreted launch file")

    def _read(self, path: Path) -> LaunchDescription:
        return get_launch_description_from_any_launch_file(str(path))


def load_python_launch_file_as_module(python_launch_file_path: str) -> ModuleType:
    """The file as a module, without leaving compiled files beside it.

    Raises:
        FileNotFoundError: there is no such file.
        InvalidLaunchFileError: it is not Python.
    """
    path = Path(python_launch_file_path)
    if not path.is_file():
        raise FileNotFoundError(f"launch file {path} does not exist")
    if path.suffix != ".py":
        raise InvalidLaunchFileError(f"expected a launch file in {_KINDS}, got {path.name}")
    loader = SourceFileLoader("python_launch_file", str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    quiet = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = quiet
    return module


def get_launch_description_from_python_launch_file(
    python_launch_file_path: str,
) -> LaunchDescription:
    """What the file's ``generate_launch_description()`` returns.

    Raises:
        InvalidPythonLaunchFileError: it has none, or it returns something else.
    """
    module = load_python_launch_file_as_module(python_launch_file_path)
    if not callable(getattr(module, _ENTRY, None)):
        raise InvalidPythonLaunchFileError(f"{python_launch_file_path} has no function {_ENTRY}()")
    description = getattr(module, _ENTRY)()
    if not isinstance(description, LaunchDescription):
        raise InvalidPythonLaunchFileError(
            f"{python_launch_file_path}: expected {_ENTRY}() to return a LaunchDescription, got "
            f"{type(description).__name__}"
        )
    return description


def get_launch_description_from_frontend_launch_file(
    launch_file_path: str, *, parser: type | None = None
) -> LaunchDescription:
    """What an XML file (.xml, .launch) or a YAML file (.yaml, .yml) describes.

    Raises:
        FileNotFoundError: there is no such file.
        InvalidLaunchFileError: it cannot be read, with the reason.
    """
    # Actions are made of descriptions, which come of here.
    from launch.frontend._actions import description_of
    from launch.frontend._markup import read_xml, read_yaml

    path = Path(launch_file_path)
    if not path.is_file():
        raise FileNotFoundError(f"launch file {path} does not exist")
    if path.suffix not in (*_XML, *_YAML):
        raise InvalidLaunchFileError(f"expected a launch file in {_KINDS}, got {path.name}")
    try:
        return description_of((read_xml if path.suffix in _XML else read_yaml)(path))
    except InvalidLaunchFileError as error:
        raise InvalidLaunchFileError(f"{path.name}: {error}") from error


def get_launch_description_from_any_launch_file(
    launch_file_path: str, *, parser: type | None = None
) -> LaunchDescription:
    """What a launch file in Python, XML or YAML describes; raises as the readers of each do."""
    if Path(launch_file_path).suffix in (*_XML, *_YAML):
        return get_launch_description_from_frontend_launch_file(launch_file_path)
    return get_launch_description_from_python_launch_file(launch_file_path)
