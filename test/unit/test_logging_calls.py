"""Every call of a ROS logger in the sources has one severity and one set of filters."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[2] / "src"
SEVERITIES = {"debug", "info", "warn", "warning", "error", "fatal", "log"}
FILTERS = {"once", "skip_first", "throttle_duration_sec", "throttle_time_source_type", "name"}


def changeable_calls(source: str) -> list[int]:
    """Lines on which a logger's method is chosen, handed on or called with changing options.

    rclpy pins severity, name and filters to each place in the code: such a line fails as soon as
    it is reached with another choice.
    """
    tree = ast.parse(source)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = {id(call.func) for call in calls}
    handed_on = [node for node in ast.walk(tree) if is_method(node) and id(node) not in called]
    by_name = [call for call in calls if is_chosen_by_name(call)]
    changing = [call for call in calls if is_method(call.func) and has_changing_options(call)]
    return sorted({node.lineno for node in (*handed_on, *by_name, *changing)})


def is_method(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in SEVERITIES and is_logger(node.value)


def is_logger(node: ast.AST) -> bool:
    text = ast.unparse(node)
    return "logger" in text.removesuffix("()").rpartition(".")[2].lower()


def is_chosen_by_name(call: ast.Call) -> bool:
    is_getattr = isinstance(call.func, ast.Name) and call.func.id == "getattr"
    return is_getattr and is_logger(call.args[0])


def has_changing_options(call: ast.Call) -> bool:
    options = [item.value for item in call.keywords if item.arg in FILTERS or item.arg is None]
    if call.func.attr == "log":
        severities = [item.value for item in call.keywords if item.arg == "severity"]
        options += call.args[1:2] + severities
    return not all(is_constant(value) for value in options)


def is_constant(node: ast.AST) -> bool:
    """A literal, a CONSTANT or ``LoggingSeverity.WARN``."""
    if isinstance(node, ast.Name | ast.Attribute):
        return ast.unparse(node).rpartition(".")[2].isupper()
    return isinstance(node, ast.Constant)


@pytest.mark.parametrize(
    "line",
    [
        "(logger.info if good else logger.warning)(text)",
        "say = self._node.get_logger().info",
        "{'info': self._logger.info}[level](text)",
        "getattr(node.get_logger(), level)(text)",
        "self.get_logger().log(text, severity)",
        "logger.log(text, severity=LoggingSeverity(level))",
        "logger.info(text, once=first)",
        "logger.info(text, **options)",
        "threading.Thread(target=self.logger.error)",
    ],
)
def test_calls_of_changing_kind_are_found(line):
    assert changeable_calls(line) == [1]


@pytest.mark.parametrize(
    "line",
    [
        "logger.info(text) if good else logger.warning(text)",
        "self._node.get_logger().info(text, throttle_duration_sec=5.0, once=True)",
        "logger.log(text, LoggingSeverity.WARN, throttle_duration_sec=PERIOD_S)",
        "self.info(text)",
    ],
)
def test_calls_of_one_kind_pass(line):
    assert changeable_calls(line) == []


def ros_modules() -> list[Path]:
    """The sources that may hold a ROS logger; launch's loggers are Python's own."""
    return [path for path in sorted(SOURCES.rglob("*.py")) if "/packages/launch/" not in str(path)]


def test_no_logging_call_changes_its_kind():
    assert len(ros_modules()) > 200
    found = {
        f"{path.relative_to(SOURCES)}:{line}"
        for path in ros_modules()
        for line in changeable_calls(path.read_text())
    }
    assert found == set()
