"""What the embedded rclpy is made of: arguments, names, discovery, timers, DDS policies."""

from __future__ import annotations

import pytest

import embedded_ros

if not embedded_ros.install():
    pytest.skip("embedded_ros only: its own modules", allow_module_level=True)

from rclpy import _names, logging, utilities
from rclpy._arguments import node_matches, parse_arguments
from rclpy._rclpy_pybind11 import RCLInvalidROSArgsError
from rclpy.clock import ROSClock
from rclpy.duration import Duration
from rclpy.exceptions import (
    InvalidNamespaceException,
    InvalidNodeNameException,
    InvalidServiceNameException,
    InvalidTopicNameException,
)
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    qos_profile_sensor_data,
)
from rclpy.time import Time
from rclpy.timer import Timer

from embedded_ros import discovery, graph, qos_mapping, socket_buffer

# --- arguments and names ----------------------------------------------------------------------


def test_arguments_between_ros_args_and_dashes():
    line = "prog -p not:=ros --ros-args -r a:=b -p n:=[1,2] --log-level warn -- -r x:=y --ros-args"
    parsed = parse_arguments([*line.split(), "-p", "t:=yes", "--log-level", "node.child:=debug"])
    assert [(rule.node, rule.name, rule.value) for rule in parsed.remaps] == [(None, "a", "b")]
    assert parsed.parameters == [("/**", "n", [1, 2]), ("/**", "t", True)]
    assert parsed.log_levels == [(None, "warn"), ("node.child", "debug")]
    assert utilities.remove_ros_args(line.split()) == ["prog", "-p", "not:=ros", "-r", "x:=y"]


@pytest.mark.parametrize(
    "line", ["-r nothing", "-p x", "--params-file", "--unknown 1", "-r a:b", "--params-file /no"]
)
def test_arguments_that_cannot_be_understood(line):
    with pytest.raises(RCLInvalidROSArgsError, match=line.split()[0]):
        parse_arguments(["--ros-args", *line.split()])


def test_enclave_and_flags_are_accepted():
    line = "--ros-args -e /x --disable-rosout-logs --enable-stdout-logs"
    assert parse_arguments(line.split()).rosout is False


def test_parameter_files_with_wildcards_and_nesting(tmp_path):
    path = tmp_path / "parameters.yaml"
    path.write_text(
        "/**:\n  ros__parameters: {a: 1, deep: {b: 2.0}}\n"
        "mapper:\n  ros__parameters: {a: 2}\n"
        "/robot:\n  '*':\n    ros__parameters: {c: all}\n"
        "  mapper:\n    ros__parameters: {c: one}\n"
    )
    parsed = parse_arguments(["--ros-args", "--params-file", str(path), "-p", "mapper:d:=4"])
    assert parsed.parameters_for("/mapper") == {"a": 2, "deep.b": 2.0, "d": 4}
    assert parsed.parameters_for("/robot/mapper") == {"a": 1, "deep.b": 2.0, "c": "one"}
    assert parsed.parameters_for("/robot/other") == {"a": 1, "deep.b": 2.0, "c": "all"}


def test_a_parameter_file_without_ros_parameters_is_an_error(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text("mapper:\n  rate: 1\n")
    with pytest.raises(RCLInvalidROSArgsError, match="ros__parameters"):
        parse_arguments(["--ros-args", "--params-file", str(path)])


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("/**", "/a/b", True),
        ("node", "/node", True),
        ("node", "/ns/node", False),
        ("/*/node", "/ns/node", True),
        ("/*/node", "/a/b/node", False),
        ("/**/node", "/a/b/node", True),
        ("/**/node", "/node", True),
        ("/ns/*", "/ns/node", True),
        ("/n.de", "/node", False),
    ],
)
def test_node_patterns(pattern, name, expected):
    assert node_matches(pattern, name) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chatter", "/ns/chatter"),
        ("/chatter", "/chatter"),
        ("~/chatter", "/ns/node/chatter"),
        ("~", "/ns/node"),
        ("{node}/x", "/ns/node/x"),
        ("a/b_2", "/ns/a/b_2"),
    ],
)
def test_expansion(name, expected):
    assert _names.expand(name, "node", "/ns") == expected


@pytest.mark.parametrize("name", ["", "a//b", "a/", "2a", "a b", "~a", "/", "a-b"])
def test_names_that_are_refused(name):
    with pytest.raises(InvalidTopicNameException):
        _names.expand(name, "node", "/")
    with pytest.raises(InvalidServiceNameException):
        _names.expand(name, "node", "/", is_service=True)


def test_node_names_and_namespaces_that_are_refused():
    for name in ("", "a/b", "1a", "a-b"):
        with pytest.raises(InvalidNodeNameException):
            _names.check_node_name(name)
    with pytest.raises(InvalidNamespaceException):
        _names.check_namespace("/a b")
    assert _names.check_namespace("robot") == "/robot"


def test_remapping_rules():
    line = "--ros-args -r chatter:=talk -r ~/own:=/elsewhere -r other:x:=y -r mine:x:=z"
    arguments = parse_arguments([*line.split(), "-r", "rosservice://srv:=service"])

    def remapped(name: str, is_service: bool = False) -> str:
        return _names.remap(name, "mine", "/ns", arguments, is_service)

    assert remapped("chatter") == remapped("/ns/chatter") == "/ns/talk"
    assert remapped("/chatter") == "/chatter"
    assert remapped("~/own") == "/elsewhere"
    assert remapped("x") == "/ns/z"
    assert (remapped("srv"), remapped("srv", True)) == ("/ns/srv", "/ns/service")


# --- discovery and mangling -------------------------------------------------------------------


def test_discovery_is_local_unless_asked_for():
    local = discovery.configuration({})
    assert '<Peer address="localhost"/>' in local and "<AllowMulticast>false" in local
    wide = discovery.configuration(
        {"ROS_AUTOMATIC_DISCOVERY_RANGE": "subnet", "ROS_STATIC_PEERS": "10.0.0.2; robot"}
    )
    assert "localhost" not in wide and "AllowMulticast" not in wide
    assert '<Peer address="10.0.0.2"/><Peer address="robot"/>' in wide
    off = discovery.configuration(
        {"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF", "ROS_STATIC_PEERS": "10.0.0.2"}
    )
    assert "ros_discovery_off_" in off and "Peer" not in off
    assert discovery.configuration({"CYCLONEDDS_URI": "file:///x.xml"}).endswith(",file:///x.xml")
    with pytest.raises(ValueError, match="LOCALHOST"):
        discovery.configuration({"ROS_AUTOMATIC_DISCOVERY_RANGE": "everywhere"})


def test_domain_ids():
    assert discovery.domain_id({}) == 0 and discovery.domain_id({"ROS_DOMAIN_ID": "42"}) == 42
    for text in ("-1", "233", "one"):
        with pytest.raises(ValueError, match="ROS_DOMAIN_ID"):
            discovery.domain_id({"ROS_DOMAIN_ID": text})


def test_mangled_names():
    assert graph.mangle(graph.TOPIC, "/a/b") == "rt/a/b"
    assert graph.demangle_topic("rt/a/b") == "/a/b" and graph.demangle_topic("rq/aRequest") is None
    assert (
        graph.demangle_service("rq/a/bRequest") == graph.demangle_service("rr/a/bReply") == "/a/b"
    )
    assert graph.demangle_service("rt/a") is None
    assert graph.demangle_topic("rtx/a") is None and graph.demangle_topic("some_topic") is None


def test_small_socket_buffers_are_named_once(tmp_path, monkeypatch, caplog):
    limit = tmp_path / "rmem_max"
    limit.write_text("212992\n")
    monkeypatch.setattr(socket_buffer, "LIMIT", limit)
    socket_buffer.warn_once.cache_clear()
    socket_buffer.warn_where_small("std_msgs/msg/String")
    assert caplog.text == ""
    for _ in range(2):
        socket_buffer.warn_where_small("sensor_msgs/msg/Image")
    assert caplog.text.count("208 KiB") == 1 and "sysctl" in caplog.text
    socket_buffer.warn_once.cache_clear()


# --- time -------------------------------------------------------------------------------------


def test_timers_keep_their_grid_and_skip_what_was_missed():
    clock = ROSClock()
    clock._set_ros_time_is_active(True)
    timer = Timer(lambda: None, None, 10, clock)
    ready_at = []
    for now in (9, 10, 11, 19, 20, 47, 48, 50, 59):
        clock.set_ros_time_override(Time(nanoseconds=now))
        if timer.is_ready():
            ready_at.append(now)
            assert timer._take_job() is not None
    assert ready_at == [10, 20, 47, 50]
    timer.cancel()
    clock.set_ros_time_override(Time(nanoseconds=1000))
    assert not timer.is_ready() and timer.time_until_next_call() is None
    timer.reset()
    assert timer.time_until_next_call() == 10 and not timer.is_canceled()


# --- QoS --------------------------------------------------------------------------------------


def test_profiles_as_dds_policies():
    from cyclonedds.qos import Policy

    qos = qos_mapping.to_dds(
        QoSProfile(depth=3, durability=DurabilityPolicy.TRANSIENT_LOCAL), b"typehash=x;"
    )
    assert qos[Policy.History] == Policy.History.KeepLast(3)
    assert qos[Policy.Durability] == Policy.Durability.TransientLocal
    assert qos[Policy.DurabilityService].history == Policy.History.KeepLast(3)
    assert isinstance(qos[Policy.Reliability], Policy.Reliability.Reliable)
    assert qos[Policy.Userdata].data == b"typehash=x;"
    best = qos_mapping.to_dds(qos_profile_sensor_data, b"")
    assert best[Policy.Reliability] == Policy.Reliability.BestEffort
    deadline = QoSProfile(history=HistoryPolicy.KEEP_ALL, deadline=Duration(seconds=2))
    assert qos_mapping.to_dds(deadline, b"")[Policy.Deadline].deadline == 2_000_000_000
    assert qos_mapping.to_dds(deadline, b"")[Policy.History] == Policy.History.KeepAll


# --- logging ----------------------------------------------------------------------------------


def test_console_format(capfd, monkeypatch):
    monkeypatch.setenv(
        "RCUTILS_CONSOLE_OUTPUT_FORMAT", "{severity}|{name}|{function_name}|{message}"
    )
    logging.get_logger("unit.test").warn("x {name}")
    assert capfd.readouterr().err == "WARN|unit.test|test_console_format|x {name}\n"
