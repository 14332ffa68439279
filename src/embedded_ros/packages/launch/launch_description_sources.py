"""Launch descriptions from files in Python, XML and YAML."""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

from launch_ros.markup.elements import read_xml, read_yaml
from launch_ros.markup.tags import description_of

from launch.entities import LaunchDescription
from launch.launch_description_source import InvalidLaunchFileError, LaunchDescriptionSource
from launch.supported import names_of

_ENTRY = "generate_launch_description"
_MARKUP = {".xml": read_xml, ".launch": read_xml, ".yaml": read_yaml, ".yml": read_yaml}


def get_launch_description_from_python_launch_file(
    python_launch_file_path: str,
) -> LaunchDescription:
    """Return the launch description made by the file's ``generate_launch_description()``.

    Raises:
        FileNotFoundError: if there is no such file.
        InvalidLaunchFileError: if it is not Python, has no such function, or the function returns
            something else.
    """
    path = _existing(python_launch_file_path)
    if path.suffix != ".py":
        raise InvalidLaunchFileError(
            f"expected a launch file in Python (.py), XML (.xml) or YAML (.yaml), got {path.name}"
        )
    generate = getattr(_loaded(path), _ENTRY, None)
    if not callable(generate):
        raise InvalidLaunchFileError(f"{path} has no function {_ENTRY}()")
    description = generate()
    if not isinstance(description, LaunchDescription):
        raise InvalidLaunchFileError(
            f"{path}: expected {_ENTRY}() to return a LaunchDescription, got "
            f"{type(description).__name__}"
        )
    return description


def get_launch_description_from_any_launch_file(launch_file_path: str) -> LaunchDescription:
    """Return the launch description in a Python, XML (.xml, .launch) or YAML (.yaml, .yml) file.

    Raises:
        FileNotFoundError: if there is no such file.
        InvalidLaunchFileError: if it cannot be read, with the reason.
    """
    path = Path(launch_file_path)
    if path.suffix not in _MARKUP:
        return get_launch_description_from_python_launch_file(launch_file_path)
    try:
        root = _MARKUP[path.suffix](_existing(launch_file_path))
        return description_of(root, AnyLaunchDescriptionSource)
    except InvalidLaunchFileError as error:
        raise InvalidLaunchFileError(f"{path.name}: {error}") from error


class PythonLaunchDescriptionSource(LaunchDescriptionSource):
    """A launch description in a Python file with ``generate_launch_description()``."""

    def _read(self, path: str) -> LaunchDescription:
        return get_launch_description_from_python_launch_file(path)


class AnyLaunchDescriptionSource(LaunchDescriptionSource):
    """A launch description in a Python, XML or YAML file."""

    def _read(self, path: str) -> LaunchDescription:
        return get_launch_description_from_any_launch_file(path)


def _existing(path: str) -> Path:
    if not Path(path).is_file():
        raise FileNotFoundError(f"launch file {path} does not exist")
    return Path(path)


def _loaded(path: Path) -> ModuleType:
    """Return the file loaded as a module, without writing compiled files."""
    loader = SourceFileLoader("python_launch_file", str(path))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    quiet, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = quiet
    return module


__all__ = [
    "AnyLaunchDescriptionSource",
    "PythonLaunchDescriptionSource",
    "get_launch_description_from_any_launch_file",
    "get_launch_description_from_python_launch_file",
]
__getattr__ = names_of(__name__, __all__)
