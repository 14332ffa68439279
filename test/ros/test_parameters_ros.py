"""Parameters of real nodes, from within."""

from __future__ import annotations

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
    SetParametersResult,
)
from rclpy.exceptions import (  # noqa: E402
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
from semantic_field.nodes.parameters import declare_settings  # noqa: E402

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
    with pytest.raises(ParameterNotDeclaredException):
        node.set_parameters([Parameter("missing", value=1)])
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


def test_an_empty_list_overrides_a_typed_list(make_node):
    node = make_node(cli_args=["--ros-args", "-p", "names:=[]"])
    node.declare_parameter("names", ["a"])
    assert node.get_parameter("names").value == []
    assert node.get_parameter("names").type_ is Parameter.Type.STRING_ARRAY


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
    assert set(node.get_parameters_by_prefix("")) == {
        "use_sim_time",
        "a",
        "field.lr",
        "fields",
        "field.grid.levels",
    }
    listed = node.list_parameters(["field"], 1)
    assert (listed.names, listed.prefixes) == (["field.lr"], ["field"])
    assert node.list_parameters([], 1).names == ["a", "fields", "use_sim_time"]
    assert node.list_parameters(["field"], 0).prefixes == ["field", "field.grid"]
    assert node.get_parameter_types(["a", "field.lr"]) == [
        Parameter.Type.INTEGER,
        Parameter.Type.DOUBLE,
    ]
    assert [p.value for p in node.get_parameters(["a", "field.lr"])] == [1, 0.1]


def test_a_descriptor_can_be_replaced(node):
    node.declare_parameter("n", 5)
    limits = ParameterDescriptor(integer_range=[IntegerRange(from_value=0, to_value=3)])
    with pytest.raises(InvalidParameterValueException):
        node.set_descriptor("n", limits)
    value = node.set_descriptor("n", limits, Parameter("n", value=2).get_parameter_value())
    assert value.integer_value == 2 and node.get_parameter("n").value == 2
    assert not node.set_parameters([Parameter("n", value=4)])[0].successful


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
    node.remove_pre_set_parameters_callback(before)
    node.remove_on_set_parameters_callback(on)
    node.remove_post_set_parameters_callback(after)
    node.set_parameters([Parameter("a", value=6)])
    assert len(calls) == 3


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
