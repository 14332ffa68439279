"""Import finder for the Python packages under ``packages/`` and for message packages.

It finds the top-level names of ``packages/`` (rclpy, tf2_ros, launch, ...), every message package
that has definitions, their ``msg`` and ``srv`` submodules, and ``semantic_field.msg`` and
``semantic_field.srv``, whose parent is an ordinary package.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from embedded_ros import definitions, messages

PACKAGES_DIR = Path(__file__).parent / "packages"
INTERFACE_KINDS = ("msg", "srv")
_LAUNCH = ("launch", "launch_ros", "launch_xml", "launch_yaml")
_LAUNCH_MODULES = (
    "launch.actions, conditions, event_handlers, launch_description_sources, substitutions and "
    "launch_ros.actions, descriptions, parameter_descriptions, substitutions"
)


class EmbeddedFinder(MetaPathFinder):
    """Finds the modules that a ROS 2 installation would have on the Python path."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        parent, _, name = fullname.rpartition(".")
        if not parent and (spec := _python_package_spec(name) or _message_package_spec(name)):
            return spec
        if name in INTERFACE_KINDS and _has_interfaces(parent, name):
            return ModuleSpec(fullname, InterfaceLoader(), origin="embedded_ros")
        if fullname.partition(".")[0] in _LAUNCH and PathFinder.find_spec(fullname, path) is None:
            raise ModuleNotFoundError(
                f"{fullname} is not there without ROS 2; there are {_LAUNCH_MODULES}", name=fullname
            )
        return None


class MessagePackageLoader(Loader):
    """Creates the parent package of ``msg`` and ``srv``, which is empty."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__doc__ = f"Message package {module.__name__}."


class InterfaceLoader(Loader):
    """Creates ``<package>.msg`` or ``<package>.srv``; classes are built on first access."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        package, _, kind = module.__name__.rpartition(".")
        messages.fill_module(module, package, kind)


def _python_package_spec(name: str) -> ModuleSpec | None:
    init = PACKAGES_DIR / name / "__init__.py"
    if not init.is_file():
        return None
    return importlib.util.spec_from_file_location(
        name, init, submodule_search_locations=[str(init.parent)]
    )


def _message_package_spec(name: str) -> ModuleSpec | None:
    # semantic_field is an ordinary package: only its msg and srv are provided here.
    if name == "semantic_field" or not _has_interfaces(name):
        return None
    return ModuleSpec(name, MessagePackageLoader(), origin="embedded_ros", is_package=True)


def _has_interfaces(package: str, kind: str | None = None) -> bool:
    return "." not in package and definitions.has_interfaces(package, kind)
