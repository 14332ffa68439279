"""What stands on the wire, as a process reads it that has no code of this package in it."""

from __future__ import annotations

import json
import re
import struct
import time

import pytest

import embedded_ros

embedded_ros.install()

from example_interfaces.srv import AddTwoInts  # noqa: E402
from rclpy.qos import qos_profile_services_default  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

from embedded_ros import discovery  # noqa: E402

pytestmark = pytest.mark.ros
OURS = pytest.mark.embedded_only("reads embedded_ros's own writers and readers")

# Says in JSON, line by line, which endpoints of other participants DDS discovery tells it of.
FOREIGN = """
import json, os, time
from cyclonedds.builtin import (
    BuiltinDataReader, BuiltinTopicDcpsPublication, BuiltinTopicDcpsSubscription
)
from cyclonedds.domain import DomainParticipant
from cyclonedds.qos import Policy

participant = DomainParticipant(int(os.environ["ROS_DOMAIN_ID"]))
readers = {
    "writer": BuiltinDataReader(participant, BuiltinTopicDcpsPublication),
    "reader": BuiltinDataReader(participant, BuiltinTopicDcpsSubscription),
}
print(json.dumps("ready"))
end = time.monotonic() + 60.0
while time.monotonic() < end:
    for kind, reader in readers.items():
        for sample in reader.take(N=100):
            if sample.topic_name and sample.participant_key != participant.guid:
                data = bytes(sample.qos[Policy.Userdata].data).decode()
                print(json.dumps([kind, sample.topic_name, sample.type_name, data]))
    time.sleep(0.01)
"""


def listen(process, count: int) -> list[list[str]]:
    """The next endpoints of ROS topics and services that a foreign process hears of."""
    found = []
    while len(found) < count:
        endpoint = json.loads(process.stdout.readline())
        if re.match(r"r[tqr]/wire_", endpoint[1]):
            found.append(endpoint)
    return found


@pytest.fixture
def foreign(start_python):
    process = start_python(FOREIGN, CYCLONEDDS_URI=discovery.configuration({}))
    assert json.loads(process.stdout.readline()) == "ready"
    return process


def test_a_service_and_a_client_are_one_identity_each_to_others(make_node, foreign):
    """rmw_cyclonedds pairs the reader and the writer of a service or client by it."""
    node = make_node("wired")
    for number in range(2):
        node.create_service(Trigger, f"wire_service_{number}", lambda request, response: response)
        node.create_client(AddTwoInts, f"wire_client_{number}")
    identities: dict[str, set[str]] = {}
    for kind, topic, type_name, data in listen(foreign, 8):
        request = topic.startswith("rq/") and topic.endswith("Request")
        assert request or (topic.startswith("rr/") and topic.endswith("Reply"))
        name = re.sub("^r[qr]/|(Request|Reply)$", "", topic)
        is_service = name.startswith("wire_service")
        assert kind == ("reader" if request == is_service else "writer")
        service = "std_srvs::srv::dds_::Trigger" if is_service else None
        service = service or "example_interfaces::srv::dds_::AddTwoInts"
        assert type_name == service + ("_Request_" if request else "_Response_")
        role = "serviceid" if is_service else "clientid"
        match = re.fullmatch(rf"{role}=([0-9a-f. ]+);typehash=RIHS01_[0-9a-f]{{64}};", data)
        assert match, data
        assert len(match[1].split(".")) == 16
        identities.setdefault(name, set()).add(match[1])
    assert [len(found) for found in identities.values()] == [1] * 4
    assert len(set.union(*identities.values())) == 4


HALVES = """
import os, sys, time
from cyclonedds.domain import DomainParticipant
from cyclonedds.pub import DataWriter
from cyclonedds.qos import Policy, Qos
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from embedded_ros import dds_types

participant = DomainParticipant(int(os.environ["ROS_DOMAIN_ID"]))

def open_half(kind, topic, type_name, identity):
    qos = Qos(
        Policy.Reliability.Reliable(0), Policy.History.KeepLast(10),
        Policy.DataRepresentation(use_cdrv0_representation=True),
        Policy.Userdata(f"serviceid={identity};".encode()),
    )
    data_type = dds_types.service_type("std_srvs/srv/" + type_name)
    return kind(participant, Topic(participant, topic, data_type), qos)

reader = open_half(DataReader, "rq/wire_halvesRequest", "Trigger_Request", "1.2.3")
other = open_half(DataWriter, "rr/wire_halvesReply", "Trigger_Response", "1.2.4")
while not (reader.get_matched_publications() and other.get_matched_subscriptions()):
    time.sleep(0.01)
print("heard both ways")
sys.stdin.readline()
writer = open_half(DataWriter, "rr/wire_halvesReply", "Trigger_Response", "1.2.3")
sys.stdin.readline()
"""


def test_halves_of_different_services_are_no_service(make_node, start_python, wait_until):
    client = make_node("halves").create_client(Trigger, "wire_halves")
    process = start_python(HALVES, CYCLONEDDS_URI=discovery.configuration({}))
    assert process.stdout.readline() == "heard both ways\n"
    assert not wait_until(client.service_is_ready, timeout_s=1.0)
    process.stdin.write("now the right one\n")
    process.stdin.flush()
    assert wait_until(client.service_is_ready)


@OURS
def test_the_bytes_of_a_trigger_request(make_node, context, wait_until):
    """As seen between real Jazzy processes: header, guid, sequence number 1, one filler byte."""
    from embedded_ros import dds, dds_types, qos_mapping

    name, kind = "rq/watched/triggerRequest", "std_srvs/srv/Trigger_Request"
    qos = qos_mapping.to_dds(qos_profile_services_default, b"")
    reader = dds.Reader(context.participant, name, dds_types.service_type(kind), qos)
    client = make_node("watched").create_client(Trigger, "/watched/trigger")
    assert wait_until(lambda: client._writer.matched_count() == 1)
    client.call_async(Trigger.Request())
    samples = []
    assert wait_until(lambda: samples.append(reader.take()) or samples[-1] is not None)
    data = samples[-1].data
    guid = data[4:12]
    assert data.hex() == "00010000" + guid.hex() + "0100000000000000" + "01000000"
    assert guid == struct.pack("<Q", client._writer.instance_handle)
    reader.close()


@OURS
def test_a_server_answers_bytes_written_by_hand(make_node, context, spin, wait_until):
    from embedded_ros import cdr, dds, dds_types, qos_mapping

    node = make_node("by_hand")
    node.create_service(
        SetBool,
        "/by_hand",
        lambda request, response: SetBool.Response(success=request.data, message="ok"),
    )
    qos = qos_mapping.to_dds(qos_profile_services_default, b"")
    request_type = dds_types.service_type("std_srvs/srv/SetBool_Request")
    response_type = dds_types.service_type("std_srvs/srv/SetBool_Response")
    writer = dds.Writer(context.participant, "rq/by_handRequest", request_type, qos)
    reader = dds.Reader(context.participant, "rr/by_handReply", response_type, qos)
    assert wait_until(lambda: writer.matched_count() and reader.matched_count())
    header = "8877665544332211" + "2a00000000000000"
    writer.write(bytes.fromhex("00010000" + header + "01"))
    replies = []
    spin.until(lambda: replies.append(reader.take()) or replies[-1] is not None, node)
    # success = 1, alignment, length 3, "ok\0", filler
    assert replies[-1].data.hex() == "00010000" + header + "01000000" + "03000000" + "6f6b0000"
    guid, number, body = dds.split_service_body(replies[-1].data)
    assert (guid, number) == (0x1122334455667788, 42)
    assert cdr.deserialize(body, "std_srvs/srv/SetBool_Response").message == "ok"


# Of std_msgs/msg/String, as ROS 2 Jazzy announces it.
STRING_HASH = "RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18"


def test_a_topic_has_the_hash_of_its_type_and_no_identity(make_node, foreign):
    node = make_node("wired")
    node.create_publisher(String, "wire_topic", 1)
    node.create_subscription(String, "wire_topic", print, 1)
    endpoints = listen(foreign, 2)
    assert sorted(endpoint[0] for endpoint in endpoints) == ["reader", "writer"]
    for _, topic, type_name, data in endpoints:
        assert (topic, type_name) == ("rt/wire_topic", "std_msgs::msg::dds_::String_")
        assert data == f"typehash={STRING_HASH};"


LONE = """
from embedded_ros import discovery
discovery.TUNING = (
    "<CycloneDDS><Domain><Discovery><InitialLocatorPruneDelay>1s</InitialLocatorPruneDelay>"
    "</Discovery></Domain></CycloneDDS>," + discovery.TUNING
)
import embedded_ros; embedded_ros.install()
import rclpy
from std_msgs.msg import String
rclpy.init()
node = rclpy.create_node("lone")
publisher = node.create_publisher(String, "wire_lone", 1)
print("ready")
rclpy.spin(node)
"""
# As a ROS process with ROS 2's own default range: it answers who asks, and asks by multicast alone.
ANSWERS_ONLY = (
    "<CycloneDDS><Domain><Discovery><ParticipantIndex>auto</ParticipantIndex>"
    "<Peers AddLocalhost='false'/></Discovery></Domain></CycloneDDS>"
)


@pytest.mark.embedded_only("its discovery configuration")
def test_a_process_that_was_long_alone_is_found(start_python):
    """Cyclone gives up peers that do not answer for the time that is set short here."""
    lone = start_python(LONE)
    assert lone.stdout.readline() == "ready\n"
    time.sleep(5.0)
    foreign = start_python(FOREIGN, CYCLONEDDS_URI=ANSWERS_ONLY)
    assert json.loads(foreign.stdout.readline()) == "ready"
    [[kind, topic, _, _]] = listen(foreign, 1)
    assert (kind, topic) == ("writer", "rt/wire_lone")


@pytest.mark.embedded_only("its discovery configuration")
def test_the_users_configuration_has_the_last_word(start_python):
    """With a delay of the user's own, the long alone is not found any more."""
    short = "<Discovery><InitialLocatorPruneDelay>1s</InitialLocatorPruneDelay></Discovery>"
    lone = start_python(LONE, CYCLONEDDS_URI=f"<CycloneDDS><Domain>{short}</Domain></CycloneDDS>")
    assert lone.stdout.readline() == "ready\n"
    time.sleep(5.0)
    foreign = start_python(FOREIGN, CYCLONEDDS_URI=ANSWERS_ONLY)
    assert json.loads(foreign.stdout.readline()) == "ready"
    time.sleep(5.0)
    foreign.terminate()
    assert "rt/wire_lone" not in foreign.stdout.read()
