"""Substitutions, conditions and parameters of the embedded launch."""

import math
from pathlib import Path

import pytest
import yaml

import embedded_ros

if not embedded_ros.install():
    pytest.skip("ROS 2's own launch is installed", allow_module_level=True)

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch import LaunchContext
from launch.conditions import (
    IfCondition,
    InvalidConditionExpressionError,
    UnlessCondition,
)
from launch.substitution import text_of
from launch.substitutions import (
    EnvironmentVariable,
    LaunchConfiguration,
    PathJoinSubstitution,
    SubstitutionFailure,
    TextSubstitution,
    ThisLaunchFileDir,
)
from launch_ros.parameter_descriptions import (
    ParameterFile,
    ParameterValue,
    evaluate_dict,
    parameter_file,
)
from launch_ros.substitutions import FindPackageShare
from launch_ros.text_substitutions import parse_substitution
from rclpy._parameter_yaml import load_yaml

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def context():
    made = LaunchContext()
    made.launch_configurations.update({"n": "3", "name": "robot", "on": "true", "off": "False"})
    yield made
    made.cleanup()


@pytest.mark.parametrize(
    ("substitution", "text"),
    [
        (TextSubstitution(text="a b"), "a b"),
        (LaunchConfiguration("name"), "robot"),
        (LaunchConfiguration("absent", default=["x", LaunchConfiguration("n")]), "x3"),
        (LaunchConfiguration("absent", default=5), "5"),
        (LaunchConfiguration(["na", "me"]), "robot"),
        (EnvironmentVariable("SURELY_NOT_SET_17", default_value="d"), "d"),
        (PathJoinSubstitution(["/a", LaunchConfiguration("name"), ["c", "d"]]), "/a/robot/cd"),
        (FindPackageShare("semantic_field"), str(REPOSITORY)),
    ],
)
def test_substitutions_have_their_text(context, substitution, text):
    assert substitution.perform(context) == text


@pytest.mark.parametrize(
    ("substitution", "complaint"),
    [
        (LaunchConfiguration("absent"), "DeclareLaunchArgument"),
        (EnvironmentVariable("SURELY_NOT_SET_17"), "SURELY_NOT_SET_17"),
        (ThisLaunchFileDir(), "no launch file"),
    ],
)
def test_substitutions_without_text_say_why(context, substitution, complaint):
    with pytest.raises(SubstitutionFailure, match=complaint):
        substitution.perform(context)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (IfCondition("1"), True),
        (IfCondition(" FALSE "), False),
        (IfCondition(LaunchConfiguration("on")), True),
        (IfCondition(["tr", "ue"]), True),
        (UnlessCondition(LaunchConfiguration("on")), False),
    ],
)
def test_conditions(context, condition, holds):
    assert condition.evaluate(context) is holds


def test_a_condition_is_true_or_false_and_nothing_else(context):
    with pytest.raises(InvalidConditionExpressionError, match="'yes'"):
        IfCondition("yes").evaluate(context)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("a_$(var name)_b", "a_robot_b"),
        ("$(var absent fallback)", "fallback"),
        ("$(env SURELY_NOT_SET_17 'two words')", "two words"),
        ("$(var $(var key))", "robot"),
        ('$(env SURELY_NOT_SET_17 "it\'s $(var n)")', "it's 3"),
        ("$ $5 $$(var n)", "$ $5 $3"),
        ("$(find-pkg-share semantic_field)/config", f"{REPOSITORY}/config"),
        (r"costs \$(5)", "costs $(5)"),
        ("", ""),
    ],
)
def test_substitutions_written_as_text(context, text, result):
    context.launch_configurations["key"] = "name"
    assert text_of(context, parse_substitution(text)) == result


@pytest.mark.parametrize("text", ["$(var name", "$(nothing x)", "$()", "$(dirname x)"])
def test_broken_substitutions_in_text(text):
    with pytest.raises(SubstitutionFailure):
        parse_substitution(text)


def test_parameter_values_take_the_type_asked_for(context):
    number = LaunchConfiguration("n")
    assert evaluate_dict(
        context,
        {
            "guessed": number,
            "text": ParameterValue(number, value_type=str),
            "decimal": ParameterValue(number, value_type=float),
            "list": ParameterValue(["[", number, ", 4]"], value_type=list[float]),
            "flag": ParameterValue(LaunchConfiguration("off"), value_type=bool),
            "small": [TextSubstitution(text="1e-3")],
            "nested": {"deep": [1, 2.5]},
            "joined": ["frame_", LaunchConfiguration("name")],
            "texts": ["3", "on"],
            "path": "1e-3",
        },
    ) == {
        "guessed": 3,
        "text": "3",
        "decimal": 3.0,
        "list": [3.0, 4.0],
        "flag": False,
        "small": 0.001,
        "nested.deep": [1.0, 2.5],
        "joined": "frame_robot",
        "texts": ["3", "on"],
        "path": "1e-3",
    }


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (ParameterValue(LaunchConfiguration("name"), value_type=int), "int"),
        ([1, "two"], "list of only"),
        (None, "NoneType"),
        (ParameterValue(LaunchConfiguration("n"), value_type=list[int]), "list"),
    ],
)
def test_values_that_cannot_be_parameters_are_named(context, value, complaint):
    with pytest.raises((TypeError, ValueError), match=f"rate.*{complaint}"):
        evaluate_dict(context, {"rate": value})


def test_a_written_parameter_file_reads_back_as_the_same_types(context):
    values = {
        "text_that_looks_like_a_number": "1e-3",
        "text_that_looks_like_truth": "on",
        "text": 'a "quoted" \\ line\nand émore',
        "empty": "",
        "tiny": 1e-7,
        "huge": 1e22,
        "whole": 2.0,
        "infinite": math.inf,
        "count": -4,
        "flags": [True, False],
        "names": ["1", "b"],
    }
    path = parameter_file(context, values, "/ns/node")
    read = load_yaml(path.read_text())["/ns/node"]["ros__parameters"]
    assert read == values
    assert {name: type(value) for name, value in read.items()} == {
        name: type(value) for name, value in values.items()
    }


def test_parameter_files_lie_in_a_folder_that_goes_with_the_launch(context):
    first = parameter_file(context, {"a": 1}, "/**")
    second = parameter_file(context, {"b": 2.0}, "/**")
    assert first != second
    assert yaml.safe_load(second.read_text()) == {"/**": {"ros__parameters": {"b": 2.0}}}
    context.cleanup()
    assert not first.exists() and not second.exists()


def test_substitutions_in_a_parameter_file(context, tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(
        "# not touched: $(var absent)\n"
        "/**:\n  ros__parameters:\n"
        "    number: $(var n)\n    quoted: '$(var n)'\n    frame: base_$(var name)\n"
        "    fine: 1e-3\n    several: [$(var n), 4]\n"
    )
    filled = ParameterFile(path, allow_substs=True).evaluate(context)
    assert load_yaml(filled.read_text())["/**"]["ros__parameters"] == {
        "number": 3,
        "quoted": "3",
        "frame": "base_robot",
        "fine": 0.001,
        "several": [3, 4],
    }
    assert ParameterFile(path).evaluate(context) == path


def test_a_missing_parameter_file_is_named(context, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.yaml"):
        parameter_file(context, str(tmp_path / "absent.yaml"), "/**")


def test_packages(monkeypatch, tmp_path):
    assert get_package_share_directory("semantic_field") == str(REPOSITORY)
    with pytest.raises(PackageNotFoundError, match="Install ROS 2"):
        get_package_share_directory("no_such_package")
    marker = tmp_path / "share/ament_index/resource_index/packages/other"
    marker.parent.mkdir(parents=True)
    marker.touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert get_package_share_directory("other") == str(tmp_path / "share/other")
