"""Lists the available messages and services."""

from __future__ import annotations

from collections.abc import Iterable

from embedded_ros import definitions


def get_message_interfaces(package_names: Iterable[str] = ()) -> dict[str, list[str]]:
    """Return ``{package: ["msg/Name", …]}``; of all packages if none are named."""
    return _by_package(definitions.all_messages(), set(package_names))


def get_service_interfaces(package_names: Iterable[str] = ()) -> dict[str, list[str]]:
    """Return ``{package: ["srv/Name", …]}``; of all packages if none are named."""
    return _by_package(definitions.all_services(), set(package_names))


def get_interfaces(package_names: Iterable[str] = ()) -> dict[str, list[str]]:
    """Return the messages and services of the packages."""
    names = definitions.all_messages() + definitions.all_services()
    return _by_package(names, set(package_names))


def _by_package(names: list[str], wanted: set[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        package, _, rest = name.partition("/")
        if not wanted or package in wanted:
            found.setdefault(package, []).append(rest)
    return found
