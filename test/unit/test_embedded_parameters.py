"""Parameters without a node: types, messages, YAML, ranges, declarations."""

from __future__ import annotations

import array
import math

import pytest

import embedded_ros

embedded_ros.install()

from rcl_interfaces.msg import (  # noqa: E402
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    ParameterType,
    ParameterValue,
)
from rclpy.exceptions import InvalidParameterException  # noqa: E402
from rclpy.parameter import (  # noqa: E402
    Parameter,
    get_parameter_value,
    parameter_dict_from_yaml_file,
    parameter_value_to_python,
)

Type = Parameter.Type
VALUES = {
    Type.BOOL: True,
    Type.INTEGER: -7,
    Type.DOUBLE: 0.25,
    Type.STRING: "map",
    Type.BYTE_ARRAY: [b"\x01", b"\xff"],
    Type.BOOL_ARRAY: [True, False],
    Type.INTEGER_ARRAY: [1, -(2**62)],
    Type.DOUBLE_ARRAY: [0.5, -1.0],
    Type.STRING_ARRAY: ["a", "ü"],
}


# --- Parameter ------------------------------------------------------------------------------------


@pytest.mark.parametrize("type_", VALUES)
def test_type_follows_from_the_value_and_survives_the_message(type_):
    value = VALUES[type_]
    parameter = Parameter("p", value=value)
    assert parameter.type_ is type_ and parameter.value == value
    message = parameter.to_parameter_msg()
    assert message.name == "p" and message.value.type == type_.value
    assert Parameter.from_parameter_msg(message) == parameter
    assert parameter_value_to_python(parameter.get_parameter_value()) == value


def test_numbers_are_those_of_the_interface():
    message = Parameter("p", value=3).get_parameter_value()
    assert (message.type, message.integer_value) == (ParameterType.PARAMETER_INTEGER, 3)
    message = Parameter("p", value=["x"]).get_parameter_value()
    assert (message.type, message.string_array_value) == (9, ["x"])


def test_bool_is_no_integer_and_integer_no_double():
    assert Parameter("p", value=True).type_ is Type.BOOL
    for type_, value in ((Type.INTEGER, True), (Type.DOUBLE, 1), (Type.STRING, 1), (Type.BOOL, 1)):
        with pytest.raises(ValueError, match="do not agree"):
            Parameter("p", type_, value)


def test_without_value_it_is_not_set():
    assert Parameter("p").type_ is Type.NOT_SET
    assert Parameter("p").get_parameter_value().type == ParameterType.PARAMETER_NOT_SET
    assert parameter_value_to_python(ParameterValue()) is None


def test_arrays_may_be_array_array_and_tuples():
    assert Parameter("p", value=array.array("d", [1.0])).type_ is Type.DOUBLE_ARRAY
    assert Parameter("p", value=(1, 2)).get_parameter_value().integer_array_value.tolist() == [1, 2]
    assert Parameter("p", Type.STRING_ARRAY, []).value == []


@pytest.mark.parametrize("value", [{"a": 1}, [1, "a"], [1, 2.0], object(), 1j])
def test_what_no_parameter_can_hold(value):
    with pytest.raises(TypeError, match="not one of the allowed types"):
        Parameter("p", value=value)


def test_an_unknown_type_number_is_named():
    with pytest.raises(ValueError, match="got 42"):
        parameter_value_to_python(ParameterValue(type=42))


# --- YAML -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "type_", "value"),
    [
        ("true", Type.BOOL, True),
        ("off", Type.BOOL, False),
        ("5", Type.INTEGER, 5),
        ("-0x10", Type.INTEGER, -16),
        ("5.0", Type.DOUBLE, 5.0),
        ("1e-3", Type.DOUBLE, 0.001),  # a string to YAML 1.1, a number to ROS
        (".5", Type.DOUBLE, 0.5),
        ("-.inf", Type.DOUBLE, -math.inf),
        ("map", Type.STRING, "map"),
        ("'5'", Type.STRING, "5"),
        ("1:30", Type.STRING, "1:30"),  # 90 to YAML 1.1
        ("2024-01-01", Type.STRING, "2024-01-01"),  # a date to YAML 1.1
        ("a: b", Type.STRING, "a: b"),
        ("[1, 2]", Type.INTEGER_ARRAY, [1, 2]),
        ("[1, 2.5]", Type.DOUBLE_ARRAY, [1.0, 2.5]),
        ("[a, b]", Type.STRING_ARRAY, ["a", "b"]),
        ("[1, a]", Type.STRING, "[1, a]"),
        ("[unclosed", Type.STRING, "[unclosed"),
        ("", Type.STRING, ""),
    ],
)
def test_texts_of_the_command_line(text, type_, value):
    found = get_parameter_value(text)
    assert Type(found.type) is type_ and parameter_value_to_python(found) == value


def test_not_a_number():
    assert math.isnan(get_parameter_value(".nan").double_value)


def test_a_parameter_file(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(
        "/**:\n  ros__parameters:\n    rate: 5\n    field: {levels: 8, lr: 1e-2}\n"
        "/mapping:\n  ros__parameters:\n    rate: 7\n"
        "/other:\n  ros__parameters:\n    alien: 1\n"
    )
    found = parameter_dict_from_yaml_file(path, use_wildcard=True, target_nodes=["/mapping"])
    values = {name: parameter_value_to_python(item.value) for name, item in found.items()}
    assert values == {"rate": 7, "field.levels": 8, "field.lr": 0.01}
    assert set(parameter_dict_from_yaml_file(path)) == {"rate", "alien"}
    path.write_text("/mapping:\n  rate: 7\n")
    with pytest.raises(RuntimeError, match="ros__parameters"):
        parameter_dict_from_yaml_file(path)


# --- rules ----------------------------------------------------------------------------------------


def allowed(value, **descriptor):
    from rclpy._parameter_rules import check_value

    return check_value(Parameter("p", value=value), ParameterDescriptor(**descriptor))


@pytest.mark.parametrize(
    ("value", "low", "high", "step", "expected"),
    [
        (1, 1, 10, 3, True),
        (4, 1, 10, 3, True),
        (10, 1, 10, 4, True),  # the end is allowed off the steps
        (6, 1, 10, 3, False),
        (0, 1, 10, 0, False),
        (11, 1, 10, 0, False),
        (6, 1, 10, 0, True),
        (-3, 5, -5, 2, True),  # either end may come first
        (2**63 - 1, -(2**63), 2**63 - 1, 1, True),
    ],
)
def test_integer_ranges(value, low, high, step, expected):
    limits = IntegerRange(from_value=low, to_value=high, step=step)
    assert allowed(value, integer_range=[limits]).successful is expected


@pytest.mark.parametrize(
    ("value", "low", "high", "step", "expected"),
    [
        (0.3, 0.0, 1.0, 0.1, True),  # 3 * 0.1 is not 0.3 in binary
        (0.35, 0.0, 1.0, 0.1, False),
        (1.0, 0.0, 1.0, 0.3, True),
        (1.0 + 1e-9, 0.0, 1.0, 0.0, True),
        (1.001, 0.0, 1.0, 0.0, False),
        (-1e-3, 0.0, 1.0, 0.0, False),
        (0.123, 0.0, 1.0, 0.0, True),
        (math.nan, 0.0, 1.0, 0.0, False),
        (math.inf, 0.0, 1.0, 0.0, False),
    ],
)
def test_floating_ranges(value, low, high, step, expected):
    limits = FloatingPointRange(from_value=low, to_value=high, step=step)
    assert allowed(value, floating_point_range=[limits]).successful is expected


def test_reasons_name_the_parameter_and_the_limits():
    limits = IntegerRange(from_value=1, to_value=10)
    assert (
        "p out of range. Min: 1, Max: 10, value: 11" in allowed(11, integer_range=[limits]).reason
    )
    assert "read-only" in allowed(1, read_only=True).reason
    wrong = allowed("x", type=ParameterType.PARAMETER_DOUBLE).reason
    assert "expected 'Type.DOUBLE' got 'Type.STRING'" in wrong
    assert allowed("x", type=ParameterType.PARAMETER_DOUBLE, dynamic_typing=True).successful


# --- declarations ---------------------------------------------------------------------------------


def parse(*entry, namespace=""):
    from rclpy._parameter_declaration import parse_declaration

    return parse_declaration(namespace, entry)


def test_a_default_gives_the_type():
    declared = parse("p", 0.5, namespace="ns")
    assert (declared.name, declared.default) == ("ns.p", 0.5)
    assert declared.descriptor.type == ParameterType.PARAMETER_DOUBLE
    assert declared.descriptor.name == "ns.p"


def test_a_type_alone_gives_no_value():
    declared = parse("p", Type.STRING_ARRAY)
    assert declared.parameter().type_ is Type.NOT_SET
    assert declared.parameter(Parameter("p", value=[])).type_ is Type.STRING_ARRAY


def test_one_descriptor_may_serve_twice():
    shared = ParameterDescriptor(description="shared")
    first, second = parse("a", 1, shared), parse("b", "x", shared)
    assert (first.descriptor.name, second.descriptor.name) == ("a", "b")
    assert shared.name == "" and shared.type == 0


def test_only_a_name_is_deprecated():
    with pytest.warns(UserWarning, match="only providing its name is"):
        assert parse("p").descriptor.dynamic_typing


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ((), TypeError),
        (("p", 1, ParameterDescriptor(), 4), TypeError),
        ((5, 1), TypeError),
        (("p", 1, "no descriptor"), TypeError),
        (("", 1), InvalidParameterException),
        (("p", Type.NOT_SET), ValueError),
        (("p", Type.BOOL, ParameterDescriptor(dynamic_typing=True)), ValueError),
        (("p", ParameterValue()), ValueError),
        (("p", {"a": 1}), TypeError),
    ],
)
def test_malformed_declarations(entry, error):
    with pytest.raises(error):
        parse(*entry)
