"""The commands that run executables of packages on a machine without ROS 2."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from ament_index_python.packages import get_packages_with_prefixes
from launch.substitution import SubstitutionFailure

# Packages whose nodes are modules for ``python -m``, and the parent of these modules.
_NODE_MODULES = {"semantic_field": "semantic_field.nodes"}
# Modules of other packages do not install embedded_ros before they import rclpy.
_RUN_WITH_ROS = (
    "import runpy, sys, embedded_ros; embedded_ros.install(); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


@dataclass(frozen=True)
class Executable:
    """A command and the environment variables that it needs."""

    command: list[str]
    env: dict[str, str] = field(default_factory=dict)


def executable_command(package: str, executable: str) -> Executable:
    """Return the command of a node: a program in lib/<package>, or a Python module of the package.

    Raises:
        SubstitutionFailure: if there is neither.
    """
    module = f"{_NODE_MODULES.get(package, package)}.{executable.removesuffix('.py')}"
    if package in _NODE_MODULES and importlib.util.find_spec(module) is not None:
        return _python_module(module)
    prefix = get_packages_with_prefixes().get(package)
    program = Path(prefix or "", "lib", package, executable)
    if prefix is not None and os.access(program, os.X_OK) and program.is_file():
        return Executable([str(program)])
    if prefix is None and _is_module(package, module):
        return _python_module(module)
    if prefix is not None:
        raise SubstitutionFailure(f"package {package!r} has no executable {executable!r}")
    raise SubstitutionFailure(
        f"cannot run {executable!r} of package {package!r}: there is no ROS 2 on this machine that "
        f"would bring it. Install ROS 2, start {executable!r} on a machine that has it, or launch "
        "without it"
    )


def _is_module(package: str, module: str) -> bool:
    return importlib.util.find_spec(package) is not None and (
        importlib.util.find_spec(module) is not None
    )


def _python_module(module: str) -> Executable:
    """Return the command of a Python module, with unbuffered output.

    The environment lets it find the same packages as this process.
    """
    places = [
        Path(place).parent
        for name in (module.partition(".")[0], "embedded_ros")
        if (spec := importlib.util.find_spec(name)) is not None
        for place in spec.submodule_search_locations or []
    ]
    extra = [str(p) for p in places if not {"site-packages", "dist-packages"} & set(p.parts)]
    present = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join(dict.fromkeys([*extra, *filter(None, present.split(os.pathsep))]))
    run = ["-m"] if module.partition(".")[0] in _NODE_MODULES else ["-c", _RUN_WITH_ROS]
    command = [sys.executable, "-u", *run, module]
    return Executable(command, {"PYTHONPATH": path} if path else {})
