"""Rules about how the source tree is built, read from the sources without importing them."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[2] / "src"
# Where top-level modules stand: embedded_ros serves what is in its packages/ as such.
ROOTS = (SOURCES / "embedded_ros" / "packages", SOURCES)


def module_files() -> dict[str, Path]:
    """Every module under src/ by the name it is imported by."""
    found: dict[str, Path] = {}
    for path in sorted(SOURCES.rglob("*.py")):
        root = next(root for root in ROOTS if path.is_relative_to(root))
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def ancestors(name: str) -> Iterator[str]:
    """The packages that a module is in, innermost first."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def named_modules(name: str, path: Path, modules: Iterable[str]) -> set[str]:
    """The modules that a file's import statements name, in functions and for type checks too."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = [package, *ancestors(package)][node.level - 1]
                base = f"{above}.{base}".rstrip(".")
            for alias in node.names:
                below = f"{base}.{alias.name}"
                found.add(below if below in modules else base)
    return found


def import_graph(files: Mapping[str, Path]) -> dict[str, set[str]]:
    """The modules that each module has to have run before it is complete.

    To import a.b.c runs a and a.b as well; a module's own packages run before it in any case.
    """
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        named = named_modules(name, path, files)
        own = set(ancestors(name))
        graph[name] = {m for m in named if m in files} | {
            package for m in named for package in ancestors(m) if package in files
        } - own - {name}
    return graph


def circles(graph: Mapping[str, set[str]]) -> set[frozenset[str]]:
    """The sets of modules that all need one another (strongly connected components)."""

    def reached(start: str, edges: Mapping[str, set[str]]) -> set[str]:
        found: set[str] = set()
        left = [start]
        while left:
            fresh = edges[left.pop()] - found
            found |= fresh
            left += fresh
        return found

    reversed_graph: dict[str, set[str]] = {name: set() for name in graph}
    for name, targets in graph.items():
        for target in targets:
            reversed_graph[target].add(name)
    return {
        frozenset(circle)
        for name in graph
        if (circle := reached(name, graph) & reached(name, reversed_graph))
    }


def source_tree(folder: Path, sources: Mapping[str, str]) -> dict[str, Path]:
    """Files of a made-up package, by module name."""
    for name, text in sources.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    names = {name: name.removesuffix(".py").replace("/", ".") for name in sources}
    return {module.removesuffix(".__init__"): folder / name for name, module in names.items()}


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        ({"p/a.py": "import p.b", "p/b.py": "import math"}, set()),
        ({"p/a.py": "import p.b", "p/b.py": "from p import a"}, {"p.a", "p.b"}),
        ({"p/a.py": "from . import b", "p/b.py": "def f():\n    from .a import x"}, {"p.a", "p.b"}),
        (
            {
                "p/a.py": "from p.b import y",
                "p/b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import p.c",
                "p/c.py": "import p.a",
            },
            {"p.a", "p.b", "p.c"},
        ),
        ({"p/__init__.py": "import p.a", "p/a.py": "import p.b", "p/b.py": ""}, set()),
        ({"p/__init__.py": "from p.a import x", "p/a.py": "from p import x"}, {"p", "p.a"}),
        ({"p/__init__.py": "import q.b", "p/a.py": "", "q/b.py": "import p.a"}, {"p", "q.b"}),
    ],
)
def test_circles_are_found(tmp_path, sources, found):
    (tmp_path / "sources").mkdir()
    graph = import_graph(source_tree(tmp_path / "sources", sources))
    assert circles(graph) == ({frozenset(found)} if found else set())


def test_no_module_needs_itself_by_way_of_others():
    graph = import_graph(module_files())
    assert {"semantic_field.cli", "embedded_ros.finder", "launch.actions", "rclpy.node"} <= set(
        graph
    )
    assert circles(graph) == set()
