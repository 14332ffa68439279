"""Message and service definitions: rosbags' Jazzy set, and ``.msg`` and ``.srv`` files.

Files come from ``interfaces/<package>/{msg,srv}`` beside this module, from semantic_field's own
``msg/`` and ``srv/`` (in the source tree or installed under ``semantic_field/share``) and from the
directories named in ``EMBEDDED_ROS_INTERFACE_PATH``, laid out as ``<package>/{msg,srv}``.
A file wins over rosbags' definition of the same name.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.base import create_field_desc
from rosbags.typesys.msg import MSGParser

HERE = Path(__file__).resolve().parent
KINDS = ("msg", "srv")

# rosbags drops default values; these are the only non-zero ones in its Jazzy set.
JAZZY_DEFAULTS: dict[str, dict[str, Any]] = {"geometry_msgs/msg/Quaternion": {"w": 1.0}}

# The member that rosidl adds to an empty structure.
EMPTY_MEMBER = "structure_needs_at_least_one_member"


@dataclass(frozen=True)
class Definition:
    """One message: constants, fields (as described by rosbags) and default values."""

    name: str  # "sensor_msgs/msg/Image", "std_srvs/srv/Trigger_Request"
    constants: dict[str, tuple[str, Any]]  # name: (type, value)
    fields: tuple[tuple[str, Any], ...]  # (name, rosbags field description)
    defaults: dict[str, Any] = field(default_factory=dict)


def prepare() -> None:
    """Read the list of interfaces, so that later calls import nothing."""
    _packages()


def has_interfaces(package: str, kind: str | None = None) -> bool:
    """Return True if ``package`` has definitions (of ``kind``, "msg" or "srv", if given)."""
    return (package, kind) in _packages()


def interface_names(package: str, kind: str) -> list[str]:
    """Return the short names defined in ``package``: messages for "msg", services for "srv"."""
    return sorted(n.split("/")[2] for n in _names() if n.startswith(f"{package}/{kind}/"))


def is_defined(name: str) -> bool:
    """Return True if ``name`` (``package/msg/Name`` or ``package/srv/Name``) is defined."""
    return name in _names()


@functools.cache
def definition(name: str) -> Definition:
    """Return the definition of ``package/msg/Name`` or ``package/srv/Name_Request``/``_Response``.

    Raises:
        ValueError: if it is not defined; names the places that were searched.
    """
    package, kind, short = name.split("/")
    if kind == "srv":
        service, _, part = short.rpartition("_")
        path = _files().get(f"{package}/srv/{service}")
        if path is not None and part in ("Request", "Response"):
            return _parse_service(path, package, service)[part == "Response"]
    elif path := _files().get(name):
        return parse(path.read_text(encoding="utf-8"), name)
    elif name in _jazzy().fielddefs:
        return _from_jazzy(name)
    raise ValueError(
        f"no definition of '{name}': put its .{kind} file into a directory "
        f"<dir>/{package}/{kind}/ and name <dir> in EMBEDDED_ROS_INTERFACE_PATH"
    )


def all_services() -> list[str]:
    """Return the names of all defined services, as ``package/srv/Name``."""
    return sorted(name for name in _names() if "/srv/" in name)


def all_messages() -> list[str]:
    """Return the names of all defined messages, as ``package/msg/Name``."""
    return sorted(name for name in _names() if "/msg/" in name)


@functools.lru_cache(maxsize=1)
def _jazzy():
    return get_typestore(Stores.ROS2_JAZZY)


@functools.lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset(_jazzy().fielddefs) | frozenset(_files())


@functools.lru_cache(maxsize=1)
def _packages() -> frozenset[tuple[str, str | None]]:
    pairs = {tuple(name.split("/")[:2]) for name in _names()}
    return frozenset(pairs | {(package, None) for package, _ in pairs})


@functools.lru_cache(maxsize=1)
def _files() -> dict[str, Path]:
    """Return the definition files by name; later directories override earlier ones."""
    found = {}
    for package, directory in _interface_directories():
        for kind in KINDS:
            for path in sorted((directory / kind).glob(f"*.{kind}")):
                found[f"{package}/{kind}/{path.stem}"] = path
    return found


def _interface_directories() -> Iterator[tuple[str, Path]]:
    """Yield pairs of package name and the directory with its ``msg`` and ``srv``."""
    roots = [HERE / "interfaces"]
    roots += [Path(p) for p in os.environ.get("EMBEDDED_ROS_INTERFACE_PATH", "").split(":") if p]
    for root in roots:
        for directory in sorted(root.iterdir()) if root.is_dir() else ():
            yield directory.name, directory
    installed = HERE.parent / "semantic_field" / "share"
    source = HERE.parent.parent
    if installed.is_dir():
        yield "semantic_field", installed
    elif (source / "package.xml").is_file() or (source / "pyproject.toml").is_file():
        yield "semantic_field", source


def _from_jazzy(name: str) -> Definition:
    constants, fields = _jazzy().fielddefs[name]
    return Definition(
        name,
        {constant: (kind, value) for constant, kind, value in constants},
        tuple(fields),
        JAZZY_DEFAULTS.get(name, {}),
    )


def parse(text: str, name: str) -> Definition:
    """What the text of a .msg file says about the message ``name`` ("package/msg/Type")."""
    package, _, short = name.split("/")
    # Parsed as "msg": under "srv", rosbags would resolve relative type names to services.
    (message,) = MSGParser(f"MSG: {package}/msg/{short}\n{text}").specification()
    fields = tuple((item.name, create_field_desc(item.typ)) for item in message.fields)
    defaults = {item.name: item.value for item in message.fields if item.value is not None}
    if not fields:
        fields = tuple(_jazzy().fielddefs["std_msgs/msg/Empty"][1])
        defaults = {EMPTY_MEMBER: 1}  # the value that ROS sends; not evaluated
    constants = {item.name: (item.typ.value, item.value) for item in message.constants}
    return Definition(name, constants, fields, defaults)


def _parse_service(path: Path, package: str, service: str) -> tuple[Definition, Definition]:
    lines = path.read_text(encoding="utf-8").splitlines()
    if lines.count("---") != 1:
        raise ValueError(f"{path}: expected one line '---' between request and response")
    middle = lines.index("---")
    request = parse("\n".join(lines[:middle]) + "\n", f"{package}/srv/{service}_Request")
    response = parse("\n".join(lines[middle + 1 :]) + "\n", f"{package}/srv/{service}_Response")
    return request, response
