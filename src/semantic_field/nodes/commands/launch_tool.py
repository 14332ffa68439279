"""What ``semantic-field launch`` does, over ``launch``: ROS 2's own where it is installed."""

from __future__ import annotations

import ctypes
import difflib
import signal
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity, LaunchService
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import (
    AnyLaunchDescriptionSource,
    get_launch_description_from_any_launch_file,
)
from launch.substitutions import SubstitutionFailure

_PACKAGE = "semantic_field"
_PR_SET_PDEATHSIG = 1
# Configurations that every launch has.
_ALWAYS = ("sigterm_timeout", "sigkill_timeout", "emulate_tty", "launch-prefix")


def file_and_arguments(file: str, rest: Sequence[str]) -> tuple[Path, dict[str, str]]:
    """The launch file meant by ``FILE`` or ``PACKAGE FILE``, and the ``name:=value`` after it.

    Raises:
        ValueError: there is no such file, or an argument is not of that form.
    """
    if rest and ":=" not in rest[0] and not Path(file).is_file():
        return find_launch_file(rest[0], package=file), parse_arguments(rest[1:])
    return find_launch_file(file), parse_arguments(rest)


def find_launch_file(file: str, package: str = _PACKAGE) -> Path:
    """A path as it is, or the name of a file in the package's launch folder.

    Raises:
        ValueError: there is no such file or package.
    """
    if package == _PACKAGE and Path(file).is_file():
        return Path(file).absolute()
    try:
        folder = Path(get_package_share_directory(package)) / "launch"
    except PackageNotFoundError as error:
        raise ValueError(str(error)) from error
    for name in (file, f"{file}.launch.py", f"{file}.py"):
        if (folder / name).is_file():
            return folder / name
    known = ", ".join(sorted(path.name for path in folder.glob("*.launch.*"))) or "none"
    raise ValueError(f"no launch file {file!r}: neither a path nor one of {package}'s: {known}")


def parse_arguments(texts: Iterable[str]) -> dict[str, str]:
    """``name:=value`` as a dictionary; of several with one name the last counts.

    Raises:
        ValueError: an argument is not of that form.
    """
    result = {}
    for text in texts:
        name, separator, value = text.partition(":=")
        if not name or not separator:
            raise ValueError(f"expected arguments as name:=value, got {text!r}")
        result[name] = value
    return result


def read_launch_file(file: Path) -> LaunchDescription:
    """What the file describes.

    Raises:
        ValueError: the file is broken, with the line where.
    """
    try:
        return get_launch_description_from_any_launch_file(str(file))
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(file)]
        where = f"{file}:{lines[-1]}" if lines else str(file)
        raise ValueError(f"{where}: {type(error).__name__}: {error}") from error


def show_arguments(file: Path) -> int:
    """Print every argument with its description and default."""
    declared = read_launch_file(file).get_launch_arguments()
    sys.stdout.write("Arguments (pass arguments as '<name>:=<value>'):\n")
    for argument in declared:
        sys.stdout.write(f"\n    '{argument.name}':\n        {argument.description}\n")
        if argument.default_value is not None:
            sys.stdout.write(f"        (default: {_default(argument)})\n")
        elif getattr(argument, "_conditionally_included", False):
            sys.stdout.write("        (required under a condition)\n")
        else:
            sys.stdout.write("        (required)\n")
    if not declared:
        sys.stdout.write("\n  No arguments.\n")
    return 0


def launch_file(file: Path, arguments: dict[str, str], debug: bool = False) -> int:
    """Run a launch file until its nodes have ended or Ctrl-C.

    Returns:
        0; 1 where the launch failed or a process ended by itself with another exit code than 0.

    Raises:
        ValueError: the file has no argument of one of the names.
    """
    check_arguments(read_launch_file(file), arguments)
    died: list[str] = []

    def note(event: Any, context: LaunchContext) -> None:
        if event.returncode != 0 and not context.is_shutdown:
            died.append(event.process_name)

    service = LaunchService(argv=[f"{name}:={v}" for name, v in arguments.items()], debug=debug)
    include = IncludeLaunchDescription(
        AnyLaunchDescriptionSource(str(file)), launch_arguments=list(arguments.items())
    )
    watch = RegisterEventHandler(OnProcessExit(on_exit=note))
    service.include_launch_description(LaunchDescription([watch, include]))
    code = service.run()
    if died:
        sys.stderr.write(f"ended with an error: {', '.join(died)}\n")
    return code or (1 if died else 0)


def end_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when its parent ends, killed perhaps (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


def check_arguments(description: LaunchDescription, arguments: dict[str, str]) -> None:
    """Raise ValueError for an argument that the launch file has not declared.

    A file that decides at run time what it launches may declare more: then all are let through.
    """
    known = [argument.name for argument in description.get_launch_arguments(True)]
    unknown = [name for name in arguments if name not in (*known, *_ALWAYS)]
    if not unknown or _may_declare_more(description):
        return
    near = difflib.get_close_matches(unknown[0], known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(
        f"unknown launch argument {unknown[0]!r}: {hint}The file has {', '.join(known) or 'none'}"
    )


def _may_declare_more(entity: LaunchDescriptionEntity) -> bool:
    if isinstance(entity, OpaqueFunction):
        return True
    below = list(entity.describe_sub_entities())
    for _, conditional in entity.describe_conditional_sub_entities():
        below += conditional
    if isinstance(entity, IncludeLaunchDescription) and not below:
        return True
    return any(_may_declare_more(item) for item in below)


def _default(argument: DeclareLaunchArgument) -> str:
    """The default value where it is known before the launch, else the substitutions in words."""
    parts = argument.default_value or []
    try:
        return repr("".join(part.perform(LaunchContext()) for part in parts))
    except (SubstitutionFailure, LookupError):
        return " + ".join(part.describe() for part in parts)
