"""Parameters without a node: types and messages."""

from __future__ import annotations

import array

import numpy as np
import pytest

import embedded_ros

embedded_ros.install()

from rcl_interfaces.msg import ParameterType, ParameterValue  # noqa: E402
from rclpy.parameter import Parameter, parameter_value_to_python  # noqa: E402

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
    back = Parameter.from_parameter_msg(message)
    assert back.type_ is type_
    assert (list(back.value) if "ARRAY" in type_.name else back.value) == value
    assert parameter_value_to_python(parameter.get_parameter_value()) == value


def test_numbers_are_those_of_the_interface():
    message = Parameter("p", value=3).get_parameter_value()
    assert (message.type, message.integer_value) == (ParameterType.PARAMETER_INTEGER, 3)
    message = Parameter("p", value=["x"]).get_parameter_value()
    assert (message.type, message.string_array_value) == (9, ["x"])


def test_bool_is_a_bool_and_an_integer_no_double():
    assert Parameter("p", value=True).type_ is Type.BOOL
    assert Parameter("p", Type.INTEGER, True).type_ is Type.INTEGER  # a bool is an int to Python
    assert Parameter("p", value=[True, False]).type_ is Type.BOOL_ARRAY
    for type_, value in ((Type.DOUBLE, 1), (Type.STRING, 1), (Type.BOOL, 1), (Type.BOOL, None)):
        with pytest.raises(ValueError, match="do not agree"):
            Parameter("p", type_, value)


def test_subclasses_of_the_types_will_do():
    assert Parameter("p", value=np.float64(0.5)).type_ is Type.DOUBLE
    with pytest.raises(TypeError):
        Parameter("p", value=np.int64(1))  # no int to Python


def test_an_empty_list_counts_as_bytes():
    assert Parameter("p", value=[]).type_ is Type.BYTE_ARRAY
    assert Parameter("p", Type.STRING_ARRAY, []).type_ is Type.STRING_ARRAY


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
    with pytest.raises(TypeError, match="of the allowed types"):
        Parameter("p", value=value)


def test_an_unknown_type_number_is_named():
    with pytest.raises((ValueError, RuntimeError), match="42"):
        parameter_value_to_python(ParameterValue(type=42))
