"""The order of the folders in src/semantic_field: each imports only from those below it.

docs/architecture.md explains the order. Imports inside functions count as well.
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[2] / "src" / "semantic_field"
FLOORS = (  # from the bottom to the top, without exception; one floor may import itself
    {
        "geometry",
        "frames",
        "settings",
        "config",
        "atomic_files",
        "torchvision_operators",
        "weights",
    },
    {"kernels"},
    {"field"},
    {"teachers"},
    {"data"},
    {"mapping"},
    {"generalizable"},
    {"object_prior"},
    {"query"},
    {"evaluation"},
    {"annotation"},
    {"nodes"},
    {"cli"},
)
HEIGHT = {name: height for height, floor in enumerate(FLOORS) for name in floor}
INTERFACES = {"msg", "srv"}  # made from msg/ and srv/ by ROS 2's generators or embedded_ros
ROS = {"rclpy", "tf2_ros", "message_filters", "launch", "launch_ros", "ament_index_python"}
REPEATED_NAMES = {  # one meaning each: a package, its choice of a variant, its commands
    "__init__.py",
    "factory.py",
    "commands.py",
}
FILES = sorted(SOURCES.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(SOURCES).as_posix()


def top_of(path: Path) -> str:
    """The folder at the top, or the module, that a file belongs to."""
    return path.relative_to(SOURCES).parts[0].removesuffix(".py")


def imported_modules(source: str) -> list[str]:
    """All absolute module names that a file imports, at the top or inside functions."""
    modules: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules += [f"{node.module}.{alias.name}" for alias in node.names]
    return modules


def upward(path: Path, source: str) -> list[str]:
    """What a file imports from a floor above its own."""
    parts = [module.split(".") for module in imported_modules(source)]
    own = [p for p in parts if p[0] == "semantic_field" and len(p) > 1]
    return [
        ".".join(p) for p in own if p[1] not in INTERFACES and HEIGHT[p[1]] > HEIGHT[top_of(path)]
    ]


def test_every_folder_has_a_floor() -> None:
    tops = {top_of(path) for path in FILES} - {"__init__"}
    assert tops == HEIGHT.keys()


@pytest.mark.parametrize("name", sorted(HEIGHT))
def test_no_folder_imports_from_above(name: str) -> None:
    found = {
        name_of(path): modules
        for path in FILES
        if top_of(path) == name and (modules := upward(path, path.read_text(encoding="utf-8")))
    }
    assert not found


def test_an_upward_import_inside_a_function_is_found() -> None:
    source = "def f():\n    from semantic_field.mapping.mapper import Mapper\n"
    path = SOURCES / "field" / "model.py"
    assert upward(path, source) == ["semantic_field.mapping.mapper.Mapper"]
    assert not upward(SOURCES / "evaluation" / "live.py", source)


def test_relative_imports_do_not_hide_anything() -> None:
    relative = [
        name_of(path)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative


def test_only_nodes_import_ros() -> None:
    """The core runs without ROS; ``cli`` reaches the nodes through ``semantic_field.nodes``."""
    found = {
        (name_of(path), module)
        for path in FILES
        if top_of(path) != "nodes"
        for module in imported_modules(path.read_text(encoding="utf-8"))
        if (root := module.split(".")[0]) in ROS or root.endswith(("_msgs", "_srvs"))
    }
    assert not found


def test_no_file_name_occurs_twice() -> None:
    """A name that means two things has to be looked up twice."""
    counts = Counter(path.name for path in FILES)
    repeated = {name for name, count in counts.items() if count > 1}
    assert repeated <= REPEATED_NAMES
