"""Finds packages by name: in AMENT_PREFIX_PATH; semantic_field in its sources or from pip."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

_INDEX = Path("share", "ament_index", "resource_index", "packages")
_OWN = "semantic_field"


class PackageNotFoundError(KeyError):
    """No package of this name is installed."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


def get_package_prefix(package_name: str) -> str:
    """Return the installation prefix of a package.

    Raises:
        ValueError: if the name is not a valid package name.
        PackageNotFoundError: if there is no such package.
    """
    if not package_name or not package_name.replace("_", "").replace("-", "").isalnum():
        raise ValueError(f"expected the name of a package, got {package_name!r}")
    prefixes = get_packages_with_prefixes()
    if package_name not in prefixes:
        raise PackageNotFoundError(
            f"package {package_name!r} not found: without ROS 2 only "
            f"{', '.join(sorted(prefixes)) or 'none'} can be launched from. Install ROS 2, or put "
            "the folder it is installed in into AMENT_PREFIX_PATH"
        )
    return prefixes[package_name]


def get_package_share_directory(package_name: str, print_warning: bool = True) -> str:
    """Return the folder with a package's launch files and settings.

    For semantic_field this is the repository, or ``semantic_field/share`` of a pip installation.

    Raises:
        PackageNotFoundError: if there is no such package.
    """
    prefix = Path(get_package_prefix(package_name))
    if package_name == _OWN and not (prefix / _INDEX / package_name).is_file():
        return str(prefix)
    return str(prefix / "share" / package_name)


def get_package_share_path(package_name: str, print_warning: bool = True) -> Path:
    """Like ``get_package_share_directory``, as a Path."""
    return Path(get_package_share_directory(package_name, print_warning))


def get_packages_with_prefixes() -> dict[str, str]:
    """Return all packages and their prefixes; earlier entries of AMENT_PREFIX_PATH win."""
    found: dict[str, str] = {}
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        index = Path(prefix) / _INDEX
        if prefix and index.is_dir():
            for marker in sorted(index.iterdir()):
                found.setdefault(marker.name, prefix)
    own = _own_share()
    if own is not None:
        found.setdefault(_OWN, str(own))
    return found


def _own_share() -> Path | None:
    """Return the folder with semantic_field's launch/ and config/, however it is installed."""
    spec = importlib.util.find_spec(_OWN)
    for place in (spec.submodule_search_locations or []) if spec else []:
        for share in (Path(place) / "share", Path(place).parent.parent):
            if (share / "package.xml").is_file() and (share / "launch").is_dir():
                return share.resolve()
    return None
