"""Parameters of real nodes, from within."""

from __future__ import annotations

import math
import os
import threading

import pytest

import embedded_ros

embedded_ros.install()

import rclpy  # noqa: E402
from rcl_interfaces.msg import (  # noqa: E402
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    ParameterType,
    ParameterValue,
    SetParametersResult,
)
from rclpy.exceptions import (  # noqa: E402
    InvalidParameterException,
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterAlreadyDeclaredException,
    ParameterImmutableException,
    ParameterNotDeclaredException,
    ParameterUninitializedException,
)
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from semantic_field.config import Config  # noqa: E402
from semantic_field.nodes.ros.parameters import declare_settings  # noqa: E402

pytestmark = pytest.mark.ros

OK = SetParametersResult(successful=True)


def running_context():
    """A participant of its own on this process's domain."""
    context = rclpy.Context()
    rclpy.init(args=[], context=context, domain_id=100 + os.getpid() % 100)
    yield context
    rclpy.shutdown(context=context)


context = pytest.fixture(running_context, scope="module", name="context")


@pytest.fixture
def make_node(context):
    nodes = []

    def make(name="server", **options):
        nodes.append(Node(name, context=context, **options))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()


@pytest.fixture
def node(make_node):
    return make_node()


def values(node, *names):
    return [node.get_parameter(name).value for name in names]


# --- declaring ------------------------------------------------------------------------------------


def test_all_forms_of_declaration(node):
    assert node.declare_parameter("rate", 5.0).value == 5.0
    node.declare_parameter("frame", "map", ParameterDescriptor(description="the global frame"))
    node.declare_parameter("typed", Parameter.Type.INTEGER)
    declared = node.declare_parameters(
        "field",
        [("levels", 8), ("names", ["a"]), ("any", None, ParameterDescriptor(dynamic_typing=True))],
    )
    assert [p.name for p in declared] == ["field.levels", "field.names", "field.any"]
    assert values(node, "rate", "frame", "field.levels", "field.names") == [5.0, "map", 8, ["a"]]
    assert node.describe_parameter("frame").description == "the global frame"
    assert node.get_parameter("field.any").value is None
    with pytest.raises(ParameterUninitializedException):
        node.get_parameter("typed")
    assert node.set_parameters([Parameter("typed", value=3)])[0].successful
    assert node.get_parameter("typed").value == 3


def test_twice_is_an_error_and_declares_nothing(node):
    node.declare_parameter("a", 1)
    with pytest.raises(ParameterAlreadyDeclaredException, match="a"):
        node.declare_parameters("", [("b", 1), ("a", 1)])
    assert not node.has_parameter("b")


def test_an_undeclared_parameter_is_an_error(node, make_node):
    with pytest.raises(ParameterNotDeclaredException, match="missing"):
        node.get_parameter("missing")
    node.declare_parameter("known", 1)
    with pytest.raises(ParameterNotDeclaredException):
        node.set_parameters([Parameter("known", value=2), Parameter("missing", value=1)])
    assert values(node, "known") == [2]  # one after the other
    assert node.get_parameter_or("missing", Parameter("missing", value=2)).value == 2
    assert node.get_parameter_or("missing").type_ is Parameter.Type.NOT_SET
    free = make_node("free", allow_undeclared_parameters=True)
    assert free.get_parameter("missing").type_ is Parameter.Type.NOT_SET
    assert free.set_parameters([Parameter("missing", value=1)])[0].successful
    assert free.set_parameters([Parameter("missing", value="now a text")])[0].successful
    assert free.get_parameter("missing").value == "now a text"
    assert free.set_parameters([Parameter("missing")])[0].successful  # deletes it
    assert not free.has_parameter("missing")


def test_overrides_win_over_defaults(make_node, tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(
        "/**:\n  ros__parameters:\n    field: {lr: 1e-2, levels: 4}\n"
        "server:\n  ros__parameters:\n    field: {levels: 6}\n"
        "other:\n  ros__parameters:\n    field: {levels: 99}\n"
    )
    arguments = [
        "--ros-args",
        "--params-file",
        str(path),
        "-p",
        "name:=red mug",
        "-p",
        "ids:=[1, 2]",
    ]
    node = make_node(cli_args=arguments, parameter_overrides=[Parameter("late", value=True)])
    node.declare_parameters("field", [("lr", 1.0), ("levels", 1), ("features", 4)])
    node.declare_parameters("", [("name", ""), ("late", False), ("ids", [0])])
    node.declare_parameter("unmoved", 1, ignore_override=True)
    found = values(node, "field.lr", "field.levels", "field.features", "name", "late", "ids")
    assert found == [0.01, 6, 4, "red mug", True, [1, 2]]


def test_an_override_of_another_type_is_an_error(make_node):
    node = make_node(parameter_overrides=[Parameter("rate", value="fast"), Parameter("n", value=1)])
    with pytest.raises(InvalidParameterTypeException, match="DOUBLE"):
        node.declare_parameter("rate", 5.0)
    with pytest.raises(InvalidParameterTypeException):
        node.declare_parameter("n", 1.0)  # 1 is not 1.0, as in rclpy
    assert not node.has_parameter("rate")
    node.declare_parameter("rate", 5.0, ignore_override=True)
    assert values(node, "rate") == [5.0]


@pytest.mark.parametrize("source", ["command line", "file"])
def test_an_empty_list_from_outside_is_no_value(make_node, tmp_path, source):
    """rcl's parser gives an empty list no type: the parameter has no value, whatever its default.

    A later empty list does not take away what an earlier argument gave, either.
    """
    path = tmp_path / "p.yaml"
    path.write_text("server:\n  ros__parameters: {names: [], kept: []}\n")
    line = f"--params-file {path}" if source == "file" else "-p names:=[] -p kept:=[]"
    node = make_node(cli_args=["--ros-args", "-p", "kept:=[b]", *line.split()])
    declared = node.declare_parameter("names", ["a"])
    assert declared.type_ is Parameter.Type.NOT_SET and declared.value is None
    with pytest.raises(ParameterUninitializedException):
        node.get_parameter("names")
    instead = Parameter("names", value=["c"])
    assert node.get_parameter_or("names", instead).value == ["c"]
    assert node.set_parameters([instead])[0].successful and values(node, "names") == [["c"]]
    assert node.declare_parameter("typed", Parameter.Type.STRING_ARRAY).value is None
    kept = node.declare_parameter("kept", ["a"]).value
    assert kept in ([["b"]] if source == "command line" else [None, ["a"]])


def test_an_empty_list_as_an_override_object_is_of_bytes(make_node):
    empty = Parameter("names", Parameter.Type.STRING_ARRAY, [])
    node = make_node(parameter_overrides=[empty])
    with pytest.raises(InvalidParameterTypeException):
        node.declare_parameter("names", ["a"])


def test_a_later_argument_replaces_only_its_own_type(make_node):
    """As rcl's parser has it: of several types the first in the order of Type is left, and what
    is said for a node counts from its first mention on."""
    line = "-p a:=1 -p a:=2 -p b:=text -p b:=1.5 -p server:c:=1 -p c:=2 -p d:=3 -p server:d:=4"
    node = make_node(cli_args=["--ros-args", *line.split()])
    node.declare_parameters("", [("a", 0), ("b", 0.0), ("c", 0), ("d", 0)])
    assert values(node, "a", "b", "c", "d") == [2, 1.5, 1, 4]


def test_a_parameter_for_one_node_means_its_full_name(make_node):
    node = make_node(cli_args=["--ros-args", "-p", "server:a:=1"], namespace="/ns")
    node.declare_parameter("a", 0)
    assert values(node, "a") == [0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("off", False),
        ("5", 5),
        ("-0x10", -16),
        ("09", 9.0),
        ("5.0", 5.0),
        ("1e-3", 0.001),  # a string to YAML 1.1, a number to ROS
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("map", "map"),
        ("'5'", "5"),
        ("1:30", "1:30"),  # 90 to YAML 1.1
        ("2024-01-01", "2024-01-01"),  # a date to YAML 1.1
        ("null", "null"),
        ("~", "~"),
        ("red mug", "red mug"),
        ("[1, 2]", [1, 2]),
        ("[0.5, 2.0]", [0.5, 2.0]),
        ("[a, b]", ["a", "b"]),
    ],
)
def test_values_on_the_command_line(make_node, text, value):
    node = make_node(cli_args=["--ros-args", "-p", f"x:={text}"])
    free = ParameterDescriptor(dynamic_typing=True)
    found = node.declare_parameter("x", None, free).value
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "rule", ["x:=[unclosed", "x:=[1, 2.5]", "x:=[1, a]", "x:={a: 1}", "x:=", "x"]
)
def test_values_that_are_refused(make_node, rule):
    from rclpy._rclpy_pybind11 import RCLError

    with pytest.raises(RCLError):
        make_node(cli_args=["--ros-args", "-p", rule])


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ((), TypeError),
        (("p", 1, ParameterDescriptor(), 4), TypeError),
        ((5, 1), TypeError),
        (("p", 1, "no descriptor"), TypeError),
        (("", 1), InvalidParameterException),
        (("p", None), ValueError),
        (("p", Parameter.Type.NOT_SET), ValueError),
        (("p", Parameter.Type.BOOL, ParameterDescriptor(dynamic_typing=True)), ValueError),
        (("p", ParameterValue()), (ValueError, TypeError)),
        (("p", {"a": 1}), TypeError),
    ],
)
def test_malformed_declarations(node, entry, error):
    with pytest.raises(error):
        node.declare_parameters("", [entry])
    assert not node.has_parameter("p")


def test_a_value_of_none_needs_dynamic_typing(node):
    with pytest.raises(ValueError):
        node.declare_parameter("p", None, ParameterDescriptor())
    free = ParameterDescriptor(dynamic_typing=True)
    assert node.declare_parameter("p", None, free).value is None
    assert node.get_parameter("p").value is None


def test_only_a_name_is_deprecated(node):
    with pytest.warns(UserWarning, match="only providing its name is"):
        node.declare_parameter("p")
    assert node.describe_parameter("p").dynamic_typing


def test_a_descriptor_belongs_to_one_parameter(node):
    shared = ParameterDescriptor(description="shared")
    node.declare_parameter("a", 1, shared)
    node.declare_parameter("b", "x", shared)
    assert node.describe_parameter("a") is node.describe_parameter("b")
    assert not node.set_parameters([Parameter("a", value=2)])[0].successful  # a string by now


def test_a_vocabulary_is_a_list_of_texts(make_node):
    argument = "language.vocabulary:=[coffee machine, wall]"
    node = make_node(cli_args=["--ros-args", "-p", argument])
    config = declare_settings(node, Config())
    assert config.language.texts == ["coffee machine", "wall"]
    plain = make_node("plain")
    assert declare_settings(plain, Config()).language.texts == []
    assert plain.get_parameter("language.vocabulary").type_ is Parameter.Type.STRING_ARRAY


def test_all_overrides_can_be_declared(make_node):
    node = make_node(
        parameter_overrides=[Parameter("a.b", value=1)],
        automatically_declare_parameters_from_overrides=True,
    )
    assert node.get_parameter("a.b").value == 1
    result = node.set_parameters([Parameter("a.b", value="text")])[0]
    assert not result.successful and "Wrong parameter type" in result.reason


def test_a_typed_parameter_cannot_be_unset(node):
    node.declare_parameter("fixed", 1)
    result = node.set_parameters([Parameter("fixed")])[0]
    assert not result.successful and "cannot be undeclared" in result.reason
    node.declare_parameter("free", 1, ParameterDescriptor(dynamic_typing=True))
    assert node.set_parameters([Parameter("free")])[0].successful
    assert not node.has_parameter("free") and values(node, "fixed") == [1]


def test_ranges_hold_when_declaring_and_setting(make_node):
    node = make_node(parameter_overrides=[Parameter("bad", value=11)])
    limits = ParameterDescriptor(integer_range=[IntegerRange(from_value=0, to_value=10, step=2)])
    with pytest.raises(InvalidParameterValueException, match="out of range"):
        node.declare_parameter("bad", 2, limits)
    node.declare_parameter("n", 2, limits)
    results = node.set_parameters([Parameter("n", value=v) for v in (4, 5, 12)])
    assert [r.successful for r in results] == [True, False, False]
    assert "valid step" in results[1].reason and "out of range" in results[2].reason
    share = FloatingPointRange(from_value=0.0, to_value=1.0)
    node.declare_parameter("x", 0.5, ParameterDescriptor(floating_point_range=[share]))
    assert not node.set_parameters([Parameter("x", value=1.5)])[0].successful
    assert values(node, "n", "x") == [4, 0.5]


def allowed(node, value, **descriptor) -> bool:
    try:
        node.declare_parameter("p", value, ParameterDescriptor(**descriptor))
    except InvalidParameterValueException:
        return False
    return True


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
def test_integer_ranges(node, value, low, high, step, expected):
    limits = IntegerRange(from_value=low, to_value=high, step=step)
    assert allowed(node, value, integer_range=[limits]) is expected


@pytest.mark.parametrize(
    ("value", "low", "high", "step", "expected"),
    [
        (0.3, 0.0, 1.0, 0.1, True),  # 3 * 0.1 is not 0.3 in binary
        (0.35, 0.0, 1.0, 0.1, False),
        (1.0, 0.0, 1.0, 0.3, True),
        (-1e-13, 0.0, 1.0, 0.0, False),  # a relative tolerance is none around zero
        (1.0 + 1e-9, 0.0, 1.0, 0.0, True),
        (1.001, 0.0, 1.0, 0.0, False),
        (-1e-3, 0.0, 1.0, 0.0, False),
        (0.123, 0.0, 1.0, 0.0, True),
        (math.nan, 0.0, 1.0, 0.0, False),
        (math.inf, 0.0, 1.0, 0.0, False),
    ],
)
def test_floating_ranges(node, value, low, high, step, expected):
    limits = FloatingPointRange(from_value=low, to_value=high, step=step)
    assert allowed(node, value, floating_point_range=[limits]) is expected


def test_types_are_kept_unless_dynamic(node):
    node.declare_parameter("fixed", 1)
    result = node.set_parameters([Parameter("fixed", value="text")])[0]
    assert not result.successful and "Wrong parameter type" in result.reason
    node.declare_parameter("free", 1, ParameterDescriptor(dynamic_typing=True))
    assert node.set_parameters([Parameter("free", value="text")])[0].successful
    assert node.describe_parameter("free").type == ParameterType.PARAMETER_STRING


def test_read_only_takes_its_override_and_nothing_else(make_node):
    node = make_node(parameter_overrides=[Parameter("seed", value=7)])
    node.declare_parameter("seed", 1, ParameterDescriptor(read_only=True))
    assert node.get_parameter("seed").value == 7
    assert "read-only" in node.set_parameters([Parameter("seed", value=8)])[0].reason
    with pytest.raises(ParameterImmutableException):
        node.undeclare_parameter("seed")
    with pytest.raises(ParameterImmutableException):
        node.set_descriptor("seed", ParameterDescriptor())


def test_undeclaring(node):
    node.declare_parameter("a", 1)
    node.undeclare_parameter("a")
    assert not node.has_parameter("a")
    with pytest.raises(ParameterNotDeclaredException):
        node.undeclare_parameter("a")
    node.declare_parameter("a", "another type now")


def test_prefixes_lists_and_types(node):
    node.declare_parameters(
        "", [("a", 1), ("field.lr", 0.1), ("field.grid.levels", 8), ("fields", 1)]
    )
    assert set(node.get_parameters_by_prefix("field")) == {"lr", "grid.levels"}
    names = {"use_sim_time", "a", "field.lr", "fields", "field.grid.levels"}
    assert names <= set(node.get_parameters_by_prefix(""))
    listed = node.list_parameters(["field"], 1)
    assert (listed.names, listed.prefixes) == (["field.lr"], ["field"])
    assert {"a", "fields", "use_sim_time"} <= set(node.list_parameters([], 1).names)
    assert "field.lr" not in node.list_parameters([], 1).names
    assert set(node.list_parameters(["field"], 0).prefixes) == {"field", "field.grid"}
    numbers = [ParameterType.PARAMETER_INTEGER, ParameterType.PARAMETER_DOUBLE]
    assert node.get_parameter_types(["a", "field.lr"]) == numbers
    assert [p.value for p in node.get_parameters(["a", "field.lr"])] == [1, 0.1]


def test_a_descriptor_can_be_replaced(node):
    node.declare_parameter("n", 5)
    limits = ParameterDescriptor(
        type=ParameterType.PARAMETER_INTEGER,
        integer_range=[IntegerRange(from_value=0, to_value=3)],
    )
    with pytest.raises(InvalidParameterValueException, match="out of range"):
        node.set_descriptor("n", limits)
    with pytest.raises(InvalidParameterValueException, match="Wrong parameter type"):
        node.set_descriptor("n", ParameterDescriptor())  # the type is not carried over
    value = node.set_descriptor("n", limits, Parameter("n", value=2).get_parameter_value())
    assert value.integer_value == 2 and node.get_parameter("n").value == 2
    assert not node.set_parameters([Parameter("n", value=4)])[0].successful
    free = ParameterDescriptor(dynamic_typing=True)
    other = Parameter("n", value="text").get_parameter_value()
    assert node.set_descriptor("n", free, other).integer_value == 2  # the present value fits
    assert node.describe_parameter("n") is free


# --- callbacks ------------------------------------------------------------------------------------


def test_callbacks_come_in_their_order(node):
    calls = []
    node.declare_parameter("a", 1)
    node.declare_parameter("b", 1)

    def before(parameters):
        calls.append(("pre", [p.name for p in parameters]))
        return [*parameters, Parameter("b", value=2)]

    def on(parameters):
        calls.append(("on", [p.name for p in parameters], node.get_parameter("a").value))
        return OK

    def after(parameters):
        calls.append(("post", [p.name for p in parameters], node.get_parameter("a").value))

    node.add_pre_set_parameters_callback(before)
    node.add_on_set_parameters_callback(on)
    node.add_post_set_parameters_callback(after)
    assert node.set_parameters([Parameter("a", value=5)])[0].successful
    assert calls == [("pre", ["a"]), ("on", ["a", "b"], 1), ("post", ["a", "b"], 5)]
    assert values(node, "a", "b") == [5, 2]
    node.add_pre_set_parameters_callback(lambda parameters: [Parameter("b", value=3)])
    calls.clear()
    assert node.set_parameters([Parameter("a", value=7)])[0].successful
    # each callback gets the list as it was given, and what they return is put together
    assert calls[:2] == [("pre", ["a"]), ("on", ["b", "a", "b"], 5)]
    node.add_pre_set_parameters_callback(lambda parameters: [])
    calls.clear()
    node.remove_pre_set_parameters_callback(before)
    node.remove_on_set_parameters_callback(on)
    node.remove_post_set_parameters_callback(after)
    node.set_parameters([Parameter("a", value=6)])
    assert calls == []


def test_a_refusal_changes_nothing(node):
    refusal = SetParametersResult(successful=False, reason="not on a Sunday")
    node.declare_parameter("a", 1)
    node.declare_parameter("b", 1)
    after = []
    node.add_post_set_parameters_callback(after.append)
    node.add_on_set_parameters_callback(
        lambda parameters: refusal if any(p.value == 13 for p in parameters) else OK
    )
    both = [Parameter("a", value=2), Parameter("b", value=13)]
    result = node.set_parameters_atomically(both)
    assert not result.successful and result.reason == "not on a Sunday"
    assert values(node, "a", "b") == [1, 1] and after == []
    results = node.set_parameters(both)
    assert [r.successful for r in results] == [True, False] and values(node, "a", "b") == [2, 1]
    with pytest.raises(InvalidParameterValueException, match="not on a Sunday"):
        node.declare_parameter("c", 13)


def test_atomic_means_all_or_none(node):
    node.declare_parameter("a", 1)
    node.declare_parameter("b", 1)
    wrong = node.set_parameters_atomically([Parameter("a", value=2), Parameter("b", value="x")])
    assert not wrong.successful and values(node, "a", "b") == [1, 1]
    assert node.set_parameters_atomically(
        [Parameter("a", value=2), Parameter("b", value=3)]
    ).successful
    assert values(node, "a", "b") == [2, 3]


def test_an_emptied_list_is_refused(node):
    node.declare_parameter("a", 1)
    node.add_pre_set_parameters_callback(lambda parameters: [])
    result = node.set_parameters([Parameter("a", value=2)])[0]
    assert not result.successful and "cannot be empty" in result.reason


def test_simulated_time_is_switched_by_its_parameter(make_node):
    node = make_node(parameter_overrides=[Parameter("use_sim_time", value=True)])
    assert node.get_clock().ros_time_is_active
    node.set_parameters([Parameter("use_sim_time", value=False)])
    assert not node.get_clock().ros_time_is_active
    assert not node.set_parameters([Parameter("use_sim_time", value="yes")])[0].successful
    with pytest.raises(InvalidParameterTypeException):
        make_node(parameter_overrides=[Parameter("use_sim_time", value="yes")])


def test_services_can_be_left_out(make_node):
    node = make_node("quiet", start_parameter_services=False)
    names = [service.srv_name for service in node.services]
    assert not any("parameter" in name for name in names)


def test_threads_may_read_while_one_sets(node):
    node.declare_parameter("n", 0)
    seen, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            seen.append(node.get_parameter("n").value)

    thread = threading.Thread(target=read)
    thread.start()
    for value in range(1, 300):
        assert node.set_parameters([Parameter("n", value=value)])[0].successful
    stop.set()
    thread.join()
    assert seen == sorted(seen) and node.get_parameter("n").value == 299
