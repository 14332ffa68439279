"""Real rclpy lets no line of code log with two severities: it raises, and the node is gone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

NODES = Path(__file__).resolve().parents[2] / "src" / "semantic_field" / "nodes"
SEVERITIES = {"debug", "info", "warning", "warn", "error", "fatal"}


def chosen_severities(source: str) -> list[int]:
    """Lines where a logger's method is chosen, instead of called by its name."""
    tree = ast.parse(source)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and "log" in ast.unparse(node.value)
        and (node.attr == "log" or (node.attr in SEVERITIES and id(node) not in called))
    ]


def test_a_chosen_severity_is_seen():
    assert chosen_severities("(log.info if good else log.warning)(text)") == [1, 1]
    assert chosen_severities("log.log(text, 20 if good else 30)") == [1]
    assert chosen_severities("node.get_logger().info(text)") == []


@pytest.mark.parametrize("path", sorted(NODES.glob("**/*.py")), ids=lambda path: path.stem)
def test_each_line_has_one_severity(path):
    assert chosen_severities(path.read_text()) == []
