"""What others see of this process, and what it sees of them."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import embedded_ros

embedded_ros.install()

from rclpy.node import Node  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from rclpy.type_hash import TypeHash  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from embedded_ros import discovery  # noqa: E402

pytestmark = pytest.mark.ros
OURS = pytest.mark.embedded_only("what embedded_ros itself announces and warns of")

STRING_HASH = "RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18"
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def test_names_types_and_counts_of_another_participant(make_node, make_context, wait_until):
    other = Node("other", namespace="robot", context=make_context())
    other.create_publisher(String, "chatter", 10)
    other.create_subscription(String, "~/input", print, 10)
    other.create_service(Trigger, "do", lambda request, response: response)
    here = make_node("here")
    here.create_client(Trigger, "/robot/do")
    assert wait_until(lambda: here.count_clients("/robot/do") == 1)
    assert here.wait_for_node("/robot/other", 10.0) and not here.wait_for_node("/nobody", 0.1)
    assert wait_until(lambda: here.count_services("/robot/do") == 1)
    topics = dict(here.get_topic_names_and_types())
    assert topics["/robot/chatter"] == ["std_msgs/msg/String"]
    assert topics["/robot/other/input"] == ["std_msgs/msg/String"]
    assert not any("do" in name for name in topics)
    services = dict(here.get_service_names_and_types())
    assert services["/robot/do"] == ["std_srvs/srv/Trigger"]
    assert (here.count_publishers("/robot/chatter"), here.count_subscribers("/robot/chatter")) == (
        1,
        0,
    )
    of_other = dict(here.get_publisher_names_and_types_by_node("other", "/robot"))
    assert "/robot/chatter" in of_other and "/robot/other/input" not in of_other
    assert here.get_service_names_and_types_by_node("other", "/robot")
    assert here.get_client_names_and_types_by_node("here", "/") == [
        ("/robot/do", ["std_srvs/srv/Trigger"])
    ]
    other.destroy_node()
    assert wait_until(lambda: here.count_publishers("/robot/chatter") == 0)
    assert wait_until(lambda: here.get_node_names() == ["here"])


def test_endpoint_info_has_node_qos_and_hash(make_node, make_context, wait_until):
    other = Node("source", context=make_context())
    qos = QoSProfile(depth=7, reliability=ReliabilityPolicy.BEST_EFFORT)
    other.create_publisher(String, "described", qos)
    here = make_node("reader_of_infos")

    def known() -> bool:
        infos = here.get_publishers_info_by_topic("described")
        return bool(infos) and infos[0].node_name == "source"

    assert wait_until(known)
    (info,) = here.get_publishers_info_by_topic("described")
    assert (info.node_namespace, info.topic_type) == ("/", "std_msgs/msg/String")
    assert str(info.topic_type_hash) == STRING_HASH
    assert info.topic_type_hash == TypeHash(1, bytes.fromhex(STRING_HASH.partition("_")[2]))
    assert str(TypeHash()) == "INVALID"
    assert info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    assert info.qos_profile.durability == DurabilityPolicy.VOLATILE
    assert here.get_subscriptions_info_by_topic("described") == []
    other.destroy_node()


@OURS
def test_every_endpoint_carries_its_type_hash(make_node, context, wait_until):
    from embedded_ros import cdr, dds_types

    node = make_node("hashed", start_parameter_services=True)
    node.create_client(Trigger, "hashed_service")
    node.create_subscription(String, "hashed_topic", print, 1)
    count = len(list(node.publishers)) + 1 + 2 * (len(list(node.services)) + 1) + 2
    assert wait_until(lambda: len(context.graph.endpoints()) == count)
    for endpoint in context.graph.endpoints():
        name = dds_types.ros_type_name(endpoint.dds_type)
        assert endpoint.type_hash == cdr.type_hash(name), endpoint
        role = b"clientid=" if "hashed_service" in endpoint.dds_topic else b"serviceid="
        is_service = endpoint.dds_topic[:2] in ("rq", "rr")
        assert endpoint.user_data.startswith(role if is_service else b"typehash=")


@OURS
def test_ros_discovery_info_lists_the_entities_of_each_node(
    make_node, context, make_context, wait_until
):
    """Read as `ros2 node list` reads it: another participant, transient local, whole each time."""
    from embedded_ros import cdr, dds, dds_types, graph, qos_mapping

    other = make_context()
    qos = qos_mapping.to_dds(LATCHED, b"")
    data_type = dds_types.message_type(graph.DISCOVERY_TYPE)
    reader = dds.Reader(other.participant, "ros_discovery_info", data_type, qos)
    latest = {}

    def nodes() -> dict:
        while (sample := reader.take()) is not None:
            info = cdr.deserialize(sample.data, graph.DISCOVERY_TYPE)
            if info.gid.data.tobytes() == context.participant.guid:
                latest.clear()
                for item in info.node_entities_info_seq:
                    readers = sorted(gid.data.tobytes() for gid in item.reader_gid_seq)
                    writers = sorted(gid.data.tobytes() for gid in item.writer_gid_seq)
                    latest[item.node_namespace, item.node_name] = (readers, writers)
        return latest

    one = make_node("one", namespace="/robot")
    two = make_node("two", enable_rosout=False)
    publisher = two.create_publisher(String, "x", 1)
    two.create_subscription(String, "x", print, 1)
    service = two.create_service(Trigger, "t", lambda request, response: response)

    def agreed(readers: int, writers: int) -> bool:
        own = [
            e for e in context.graph.endpoints() if context.graph.node_of(e.guid) == ("two", "/")
        ]
        gids = tuple(sorted(e.guid for e in own if e.is_writer is w) for w in (False, True))
        return nodes().get(("/", "two")) == gids and [*map(len, gids)] == [readers, writers]

    assert wait_until(lambda: agreed(readers=2, writers=3))
    assert set(latest) == {("/robot", "one"), ("/", "two")}
    two.destroy_publisher(publisher)
    two.destroy_service(service)
    assert wait_until(lambda: agreed(readers=1, writers=1))
    one.destroy_node()
    assert wait_until(lambda: set(nodes()) == {("/", "two")})
    reader.close()


def run_cyclonedds(domain: int, *arguments: str) -> str:
    """The command line that comes with the cyclonedds package: no code of ours."""
    command = [str(Path(sys.executable).with_name("cyclonedds")), *arguments]
    result = subprocess.run(
        [*command, "--id", str(domain), "--suppress-progress-bar", "--color", "none"],
        env={
            **os.environ,
            "CYCLONEDDS_URI": discovery.configuration({}),
            "COLUMNS": "300",
            "TERM": "dumb",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@OURS
def test_the_cyclonedds_command_line_sees_topics_and_types(make_node, domain_id):
    from sensor_msgs.msg import Image

    node = make_node("seen")
    node.create_publisher(Image, "color/image", 5)
    node.create_service(Trigger, "seen/do", lambda request, response: response)
    listing = run_cyclonedds(domain_id, "ls")
    for text in (
        "rt/color/image",
        "sensor_msgs::msg::dds_::Image_",
        "rq/seen/doRequest",
        "std_srvs::srv::dds_::Trigger_Request_",
        "rr/seen/doReply",
        "ros_discovery_info",
    ):
        assert text in listing
    described = run_cyclonedds(domain_id, "typeof", "rt/color/image")
    for text in (
        "struct Image_",
        "sequence<octet>  data;",
        "unsigned long height;",
        "Header_ header;",
    ):
        assert text in described
    request = run_cyclonedds(domain_id, "typeof", "rq/seen/doRequest")
    assert "unsigned long long" in request and "long long" in request


def announcement(domain: int, vendor: bytes) -> bytes:
    """An RTPS participant announcement as a participant of that vendor sends it (DDSI 9.6)."""
    prefix = vendor + os.urandom(10)

    def parameter(number: int, value: bytes) -> bytes:
        return struct.pack("<HH", number, len(value)) + value

    locator = struct.pack("<iI", 1, 7411 + 250 * domain) + bytes(12) + bytes([127, 0, 0, 1])
    parameters = (
        parameter(0x15, b"\x02\x03\0\0")  # protocol version 2.3
        + parameter(0x16, vendor + b"\0\0")
        + parameter(0x50, prefix + b"\0\0\x01\xc1")  # guid of the participant
        + parameter(0x32, locator)  # where it would listen
        + parameter(0x31, locator)
        + parameter(0x02, struct.pack("<iI", 20, 0))  # lease
        + parameter(0x58, struct.pack("<I", 0x3F))  # built-in endpoints
        + struct.pack("<HH", 1, 0)
    )
    payload = b"\0\x03\0\0" + parameters  # PL_CDR, little endian
    data = struct.pack("<HH", 0, 16) + b"\0\0\0\0" + b"\0\x01\0\xc2" + struct.pack("<iI", 0, 1)
    submessage = struct.pack("<BBH", 0x15, 0x05, len(data) + len(payload)) + data + payload
    return b"RTPS\x02\x03" + vendor + prefix + submessage


LISTENER = """
import embedded_ros; embedded_ros.install()
import rclpy
rclpy.init()
node = rclpy.create_node("warner")
node.create_timer(0.2, lambda: print("ready"))
rclpy.spin(node)
"""


@OURS
def test_a_participant_of_another_vendor_is_named_once(start_python, domain_id):
    loopback = "<Interfaces><NetworkInterface address='127.0.0.1'/></Interfaces>"
    uri = f"<CycloneDDS><Domain><General>{loopback}</General></Domain></CycloneDDS>"
    process = start_python(LISTENER, CYCLONEDDS_URI=uri)
    assert process.stdout.readline() == "ready\n"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(2):  # two of them: still one warning
            packet = announcement(domain_id, b"\x01\x0f")
            for index in range(33):
                sender.sendto(packet, ("127.0.0.1", 7410 + 250 * domain_id + 2 * index))
    lines = [process.stdout.readline() for _ in range(5)]
    process.terminate()
    output = "".join(lines) + process.communicate(timeout=20)[0]
    assert output.count("another DDS vendor") == 1
    assert "Fast DDS" in output and "RMW_IMPLEMENTATION=rmw_cyclonedds_cpp" in output


def test_contexts_of_different_domains_do_not_meet(make_node, wait_until, domain_id):
    import rclpy

    elsewhere = rclpy.Context()
    rclpy.init(args=[], context=elsewhere, domain_id=domain_id + 1)
    far = Node("far", context=elsewhere)
    near = make_node("near")
    publisher = near.create_publisher(String, "same_name", 1)
    far.create_subscription(String, "same_name", print, 1)
    assert not wait_until(lambda: publisher.get_subscription_count(), timeout_s=0.5)
    assert far.get_node_names() == ["far"]
    far.destroy_node()
    elsewhere.shutdown()
