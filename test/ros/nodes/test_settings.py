"""Every setting of every node as a parameter: through YAML, ``-p`` and at run time."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import yaml

import embedded_ros

embedded_ros.install()

from rclpy.exceptions import ParameterException  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from semantic_field.config import (  # noqa: E402
    FieldConfig,
    LanguageConfig,
    MappingConfig,
    MappingNodeConfig,
    QueryConfig,
    QueryNodeConfig,
    ReplayNodeConfig,
    ScorerNodeConfig,
    TeacherConfig,
)
from semantic_field.nodes.ros.parameters import declare_settings, follow_changes, given  # noqa: E402
from semantic_field.settings import Settings, to_dict, walk  # noqa: E402

pytestmark = pytest.mark.ros
KINDS = (
    FieldConfig,
    LanguageConfig,
    MappingConfig,
    MappingNodeConfig,
    QueryConfig,
    QueryNodeConfig,
    ReplayNodeConfig,
    ScorerNodeConfig,
    TeacherConfig,
)
OF_KINDS = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
NEVER_EMPTY = ("crop_divisors", "global_frame")


def good_values(item: dataclasses.Field) -> list[Any]:
    """The default, another value that is allowed, and the empty one where that is."""
    default, low, high = item.default, item.metadata["minimum"], item.metadata["maximum"]
    if item.metadata["choices"]:
        return [default, item.metadata["choices"][-1]]
    if isinstance(default, bool):
        return [default, not default]
    if isinstance(default, str):
        return [default or "x", "other", *([""] if item.name not in NEVER_EMPTY else [])]
    if isinstance(default, tuple):
        other = list(default[::-1])
        return [list(default), other, *([[]] if item.name not in NEVER_EMPTY else [])]
    step = 1 if isinstance(default, int) else 0.125
    return [default, default + step if high is None or default + step <= high else low]


def bad_values(item: dataclasses.Field) -> list[Any]:
    """Values of another type, out of the limits, or not finite."""
    default, low, high = item.default, item.metadata["minimum"], item.metadata["maximum"]
    if isinstance(default, bool):
        return [1, "perhaps"]
    if isinstance(default, str):
        return [5, ["a"], *(["no such choice"] if item.metadata["choices"] else [])]
    if isinstance(default, tuple):
        return ["a text", 1.5, [1.5]]
    number = type(default)
    bad = ["many", [default], True]
    bad += [number(low - 1)] if low is not None else []
    bad += [number(high + 1)] if high is not None else []
    return bad + ([math.nan, math.inf] if number is float else [])


def overrides(values: dict[str, Any]) -> list[Parameter]:
    return [Parameter(name, value=value) for name, value in values.items()]


@OF_KINDS
def test_a_bad_value_at_start_is_refused_with_the_name(make_node, kind):
    defaults = kind()
    cases = [(n, value) for n, item, _ in walk(defaults) for value in bad_values(item)]
    given = {f"c{i}.{name}": value for i, (name, value) in enumerate(cases)}
    node = make_node("settings", parameter_overrides=overrides(given))
    for i, (name, value) in enumerate(cases):
        with pytest.raises((ValueError, ParameterException)) as error:
            declare_settings(node, defaults, f"c{i}.")
        assert name.rpartition(".")[2] in str(error.value), (name, value)


@OF_KINDS
def test_values_from_yaml_and_from_the_command_line_are_honoured(make_context, tmp_path, kind):
    defaults = kind()
    for choose in (0, 1, -1):
        values = {name: good_values(item)[choose] for name, item, _ in walk(defaults)}
        file = tmp_path / f"{choose}.yaml"
        file.write_text(yaml.safe_dump({"settings": {"ros__parameters": values}}))
        words = ["--ros-args", "--params-file", str(file)]
        assert declared(make_context(words), defaults) == values
        words = ["--ros-args"]
        for name, value in values.items():
            words += [
                "-p",
                f"{name}:={yaml.safe_dump(value, default_flow_style=True).split('...')[0].strip()}",
            ]
        assert declared(make_context(words), defaults) == values


def test_a_switch_takes_a_bare_on_or_off_as_yaml_reads_it(make_context, tmp_path):
    file = tmp_path / "switches.yaml"
    file.write_text("settings:\n  ros__parameters:\n    adapt_exposure: on\n")
    words = ["--ros-args", "--params-file", str(file), "-p", "refine_poses:=off"]
    values = declared(make_context(words), MappingConfig())
    assert (values["refine_poses"], values["adapt_exposure"]) == ("off", "on")
    values = declared(make_context(["--ros-args", "-p", "refine_poses:=true"]), MappingConfig())
    assert (values["refine_poses"], values["adapt_exposure"]) == ("on", "auto")


def declared(context, defaults: Settings) -> dict[str, Any]:
    node = Node("settings", context=context, start_parameter_services=False)
    settings = declare_settings(node, defaults)
    node.destroy_node()
    return to_dict(settings)


def test_an_empty_list_has_no_type_of_its_own():
    """Real rclpy makes None of it at start; read as what it was."""
    items = {name: item for name, item, _ in walk(QueryConfig())}
    assert given(items["negatives"], None) == ()
    assert given(items["negatives"], ["wall"]) == ["wall"]
    assert given(items["threshold"], None) is None


@OF_KINDS
def test_at_run_time_a_setting_changes_or_says_why_not(make_node, kind):
    node, defaults, applied = make_node("settings"), kind(), []
    follow_changes(node, declare_settings(node, defaults, "x."), "x.", applied.append)
    for name, item, _ in walk(defaults):
        described = node.describe_parameter(f"x.{name}")
        fixed = item.metadata["fixed"]
        assert described.read_only == bool(fixed), name
        assert ("fixed while the node runs: " + fixed in described.description) or not fixed, name
        for value in good_values(item):
            result = put(node, f"x.{name}", value)
            assert result.successful == (not fixed) and (result.successful or result.reason), name
            if not fixed:
                assert to_dict(applied[-1])[name] == value
        before = len(applied)
        for value in [*bad_values(item), None]:
            result = put(node, f"x.{name}", value)
            assert not result.successful and result.reason, (name, value)
        assert len(applied) == before


def put(node: Node, name: str, value: Any):
    return node.set_parameters_atomically([Parameter(name, value=value)])


@OF_KINDS
def test_limits_are_told_as_they_are(make_node, kind):
    """No made-up ends of ranges: limits of one side are words."""
    node, defaults = make_node("settings"), kind()
    declare_settings(node, defaults, "x.")
    for name, item, _ in walk(defaults):
        described = node.describe_parameter(f"x.{name}")
        low, high = item.metadata["minimum"], item.metadata["maximum"]
        ranges = [*described.integer_range, *described.floating_point_range]
        expected = [] if low is None or high is None else [(low, high)]
        assert [(r.from_value, r.to_value) for r in ranges] == expected, name
        one_sided = low is not None and high is None
        assert not one_sided or described.additional_constraints == f"at least {low}", name
