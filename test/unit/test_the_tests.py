"""Tests of the tests: they look at what is public, and each of them can fail."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
FILES = sorted(TESTS.rglob("*.py"))

# Private names that tests may look up, and why nothing public will do.
ALLOWED = {
    "_embeds": "open_clip's: the tokens of an image, which its towers do not hand out otherwise",
    "_set_ros_time_is_active": "rclpy's: a clock without a node has no other switch",
    "_take_job": "calls a timer without an executor, which would need a context and DDS",
    "_writer": "of a client: rclpy tells neither who hears it nor its identity on the wire",
}


def private_look_ups(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of each private attribute of another object, read, imported or patched."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            names = [] if own else [node.attr]
        elif isinstance(node, ast.ImportFrom):
            ours = (node.module or "").startswith("semantic_field")
            names = [alias.name for alias in node.names] if ours else []
        elif isinstance(node, ast.Call) and called(node) in ("setattr", "getattr", "delattr"):
            texts = [item.value for item in node.args if isinstance(item, ast.Constant)]
            names = [text.rpartition(".")[2] for text in texts if isinstance(text, str)]
        else:
            continue
        yield from ((node.lineno, name) for name in names if is_private(name))


def is_private(name: str) -> bool:
    return name.startswith("_") and name.isidentifier() and not name.endswith("__") and name != "_"


def called(call: ast.Call) -> str:
    """The last part of what is called: ``c`` of ``a.b.c()``."""
    return ast.unparse(call.func).rpartition(".")[2]


def judges(tree: ast.AST, helpers: frozenset[str] = frozenset()) -> bool:
    """Whether something in it can fail: an assertion, an expected error, a process that is checked,
    or a helper that can."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call):
            name, checked = called(node), any(item.arg == "check" for item in node.keywords)
            if checked or name.startswith("assert") or name in helpers | {"raises", "warns"}:
                return True
    return False


def unjudging(tree: ast.Module) -> list[int]:
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    helpers = frozenset(f.name for f in functions if judges(f))
    tests = (f for f in functions if f.name.startswith("test_"))
    return [f.lineno for f in tests if not judges(f, helpers)]


def comparisons_cut_short(tree: ast.AST) -> list[int]:
    """Loops over a ``zip`` that end with the shorter one, so that what is missing is not seen."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.For)
        and isinstance(node.iter, ast.Call)
        and called(node.iter) == "zip"
        and not any(item.arg == "strict" for item in node.iter.keywords)
        and any(judges(line) for line in node.body)
    ]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("thing._part", "_part"),
        ("make()._part.size = 3", "_part"),
        ("node._Base__on_state(1)", "_Base__on_state"),
        ("from semantic_field.geometry import _turned", "_turned"),
        ('monkeypatch.setattr(thing, "_part", 3)', "_part"),
        ('monkeypatch.setattr("package.module._part", 3)', "_part"),
    ],
)
def test_private_look_ups_are_found(line, name):
    assert list(private_look_ups(ast.parse(line))) == [(1, name)]


@pytest.mark.parametrize(
    "line",
    ["self._part", "thing.__name__", "from rclpy import _names", 'getattr(thing, "part")'],
)
def test_what_is_public_or_of_a_test_itself_passes(line):
    assert list(private_look_ups(ast.parse(line))) == []


def test_tests_look_at_what_is_public():
    found = {
        (f"{path.relative_to(TESTS)}:{line}", name)
        for path in FILES
        for line, name in private_look_ups(ast.parse(path.read_text()))
    }
    assert {entry for entry in found if entry[1] not in ALLOWED} == set()
    assert ALLOWED.keys() <= {name for _, name in found}, "what is gone goes from the list, too"


def test_each_test_can_fail():
    assert unjudging(ast.parse("def test_a():\n    f()")) == [1]
    assert unjudging(ast.parse("def test_a():\n    run(command, check=True)")) == []
    assert unjudging(ast.parse("def f():\n    assert x\ndef test_a(): f()")) == []
    assert comparisons_cut_short(ast.parse("for a, b in zip(c, d):\n    assert a == b")) == [1]
    assert comparisons_cut_short(ast.parse("for a in zip(c, strict=True):\n    assert a")) == []
    found = {
        f"{path.relative_to(TESTS)}:{line}"
        for path in FILES
        for rule in (unjudging, comparisons_cut_short)
        for line in rule(ast.parse(path.read_text()))
    }
    assert found == set()
