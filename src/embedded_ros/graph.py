"""The ROS graph: announces this process's nodes and follows those of other processes.

Nodes are announced on the topic ``ros_discovery_info`` only: on each change, every participant
publishes there which of its readers and writers belong to which node. Topics and services are the
endpoints of DDS discovery, with mangled names.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from cyclonedds._clayer import ddspy_take_endpoint, ddspy_take_participant
from cyclonedds.builtin import (
    BuiltinDataReader,
    BuiltinTopicDcpsParticipant,
    BuiltinTopicDcpsPublication,
    BuiltinTopicDcpsSubscription,
)
from cyclonedds.core import DDSException
from cyclonedds.qos import Policy, Qos

from embedded_ros import cdr, dds, dds_types, graph_samples, messages, qos_mapping
from embedded_ros.graph_samples import Endpoint

DISCOVERY_TOPIC = "ros_discovery_info"
DISCOVERY_TYPE = "rmw_dds_common/msg/ParticipantEntitiesInfo"
CYCLONE_VENDOR = b"\x01\x10"
VENDORS = {b"\x01\x0f": "eProsima Fast DDS (rmw_fastrtps)", b"\x01\x01": "RTI Connext"}
# Prefixes of ROS topics; endpoints of vendor discovery and of tools have none.
TOPIC, REQUEST, REPLY = "rt", "rq", "rr"

LOG = logging.getLogger("embedded_ros")


@dataclass
class NodeEntities:
    """The guids of the readers and writers of one node of this process."""

    namespace: str
    name: str
    readers: list[bytes]
    writers: list[bytes]


def mangle(prefix: str, name: str, suffix: str = "") -> str:
    """Return the DDS topic of an absolute ROS name, such as ``rt/chatter``, ``rq/addRequest``."""
    return f"{prefix}{name}{suffix}"


def demangle_topic(dds_topic: str) -> str | None:
    """Return the ROS topic name of a DDS topic, or None if it is not a ROS topic."""
    return dds_topic[2:] if dds_topic.startswith(TOPIC + "/") else None


def demangle_service(dds_topic: str) -> str | None:
    """Return the ROS service name of a DDS topic, or None if it does not belong to a service."""
    for prefix, suffix in ((REQUEST, "Request"), (REPLY, "Reply")):
        if dds_topic.startswith(prefix + "/") and dds_topic.endswith(suffix):
            return dds_topic[2 : -len(suffix)]
    return None


class Graph:
    """The graph as seen by one participant; a background thread follows the changes."""

    def __init__(self, participant: dds.Participant) -> None:
        self._participant = participant
        self.changed = threading.Condition()
        self._nodes: list[NodeEntities] = []
        self._remote_nodes: dict[bytes, list[tuple[str, str, set[bytes]]]] = {}
        self._endpoints: dict[bytes, Endpoint] = {}
        self._vendors_seen: set[bytes] = set()
        self._open_discovery_topic()
        self._builtin = [
            BuiltinDataReader(participant.entity, topic)
            for topic in (
                BuiltinTopicDcpsParticipant,
                BuiltinTopicDcpsPublication,
                BuiltinTopicDcpsSubscription,
            )
        ]
        self._stop = dds.GuardCondition(participant)
        self._wait_set = dds.WaitSet(participant)
        self._stopping = False
        self._thread = threading.Thread(target=self._follow, name="ros_graph", daemon=True)
        self._thread.start()

    def _open_discovery_topic(self) -> None:
        data_type = dds_types.message_type(DISCOVERY_TYPE)
        qos = Qos(
            Policy.Reliability.Reliable(qos_mapping.MAX_BLOCKING_NS),
            Policy.Durability.TransientLocal,
            Policy.History.KeepLast(1),
            Policy.DataRepresentation(use_cdrv0_representation=True),
            Policy.Userdata(dds_types.type_hash_user_data(DISCOVERY_TYPE)),
        )
        self._writer = dds.Writer(self._participant, DISCOVERY_TOPIC, data_type, qos)
        # Writers keep the last sample, per participant; a reader receives from all participants.
        everything = Qos(Policy.History.KeepAll, base=qos)
        self._reader = dds.Reader(self._participant, DISCOVERY_TOPIC, data_type, everything)

    # --- announcing this process --------------------------------------------------------------

    def add_node(self, namespace: str, name: str) -> NodeEntities:
        """Announce a node without entities; call ``announce`` after adding them."""
        node = NodeEntities(namespace, name, [], [])
        with self.changed:
            self._nodes.append(node)
        self.announce()
        return node

    def remove_node(self, node: NodeEntities) -> None:
        with self.changed:
            if node in self._nodes:
                self._nodes.remove(node)
        self.announce()

    def announce(self) -> None:
        """Publish the complete list of this participant's nodes."""
        info = messages.message_class(DISCOVERY_TYPE)
        entry = messages.message_class("rmw_dds_common/msg/NodeEntitiesInfo")
        with self.changed:
            entries = [
                entry(
                    node_namespace=node.namespace,
                    node_name=node.name,
                    reader_gid_seq=[_gid(guid) for guid in node.readers],
                    writer_gid_seq=[_gid(guid) for guid in node.writers],
                )
                for node in self._nodes
            ]
            message = info(gid=_gid(self._participant.guid), node_entities_info_seq=entries)
            self._writer.write(cdr.serialize(message))

    # --- following other processes ------------------------------------------------------------

    def _follow(self) -> None:
        conditions = [reader._next_condition._ref for reader in self._builtin]
        conditions += [self._reader.condition, self._stop.condition]
        self._wait_set.attach_only(conditions)
        while not self._stopping and self._wait_set.wait(dds.INFINITE_NS) is not None:
            try:
                self._update()
            except DDSException:
                if not self._stopping:  # closed while it was read
                    raise

    def _update(self) -> None:
        participants = graph_samples.take(
            ddspy_take_participant,
            self._builtin[0],
            graph_samples.participant,
            graph_samples.no_qos,
        )
        publications, subscriptions = (
            graph_samples.take(
                ddspy_take_endpoint, reader, graph_samples.endpoint, qos_mapping.read_endpoint_qos
            )
            for reader in self._builtin[1:]
        )
        with self.changed:
            for guid, is_alive in participants:
                self._take_participant(guid, is_alive)
            for (is_alive, endpoint), is_writer in (
                *((item, True) for item in publications),
                *((item, False) for item in subscriptions),
            ):
                self._take_endpoint(endpoint, is_alive, is_writer)
            while (sample := self._reader.take()) is not None:
                self._take_nodes(sample.data)
            self.changed.notify_all()

    def _take_participant(self, guid: bytes, is_alive: bool) -> None:
        if is_alive:
            self._check_vendor(guid[:2])
            return
        self._remote_nodes.pop(guid, None)
        gone = [key for key, item in self._endpoints.items() if item.participant == guid]
        for key in gone:
            del self._endpoints[key]

    def _check_vendor(self, vendor: bytes) -> None:
        if vendor == CYCLONE_VENDOR or vendor in self._vendors_seen:
            return
        self._vendors_seen.add(vendor)
        LOG.warning(
            "A participant of another DDS vendor is on this domain: %s. Topics work with it, but "
            "services do not. Remedy: run the ROS side with RMW_IMPLEMENTATION=rmw_cyclonedds_cpp, "
            "install ROS 2 on this machine, or ask by topic (query_text in, answer out).",
            VENDORS.get(vendor, f"vendor id {vendor.hex()}"),
        )

    def _take_endpoint(self, endpoint: Endpoint, is_alive: bool, is_writer: bool) -> None:
        if not is_alive:  # a sample of a removed endpoint holds only its guid
            self._endpoints.pop(endpoint.guid, None)
        elif not endpoint.dds_topic.startswith("DCPS"):  # this graph's own readers
            self._endpoints[endpoint.guid] = replace(endpoint, is_writer=is_writer)

    def _take_nodes(self, data: bytes) -> None:
        try:
            info: Any = cdr.deserialize(data, DISCOVERY_TYPE)
        except ValueError as error:
            LOG.warning("%s: a participant's nodes cannot be read: %s", DISCOVERY_TOPIC, error)
            return
        participant = info.gid.data.tobytes()
        self._remote_nodes[participant] = [
            (
                item.node_namespace,
                item.node_name,
                {gid.data.tobytes() for gid in (*item.reader_gid_seq, *item.writer_gid_seq)},
            )
            for item in info.node_entities_info_seq
        ]

    # --- queries ------------------------------------------------------------------------------

    def nodes(self) -> list[tuple[str, str]]:
        """Return ``(name, namespace)`` of every known node, including this process's."""
        with self.changed:
            own = self._participant.guid
            remote = [
                (name, namespace)
                for guid, entries in self._remote_nodes.items()
                if guid != own
                for namespace, name, _ in entries
            ]
            return [(node.name, node.namespace) for node in self._nodes] + remote

    def endpoints(self) -> list[Endpoint]:
        """Return every known reader and writer, including this process's."""
        with self.changed:
            return list(self._endpoints.values())

    def node_of(self, guid: bytes) -> tuple[str, str] | None:
        """Return ``(name, namespace)`` of the node that owns an endpoint, None if unknown."""
        with self.changed:
            for entries in self._remote_nodes.values():
                for namespace, name, guids in entries:
                    if guid in guids:
                        return name, namespace
        return None

    def names_and_types(
        self, demangle: Callable[[str], str | None], only: Iterable[Endpoint] | None = None
    ) -> list[tuple[str, list[str]]]:
        """Return ``[(name, [types])]`` of topics or services, sorted by name."""
        found: dict[str, set[str]] = {}
        for endpoint in self.endpoints() if only is None else only:
            name = demangle(endpoint.dds_topic)
            kind = dds_types.ros_type_name(endpoint.dds_type)
            if name is None or kind is None:
                continue
            if "/srv/" in kind:
                kind = kind.removesuffix("_Request").removesuffix("_Response")
            found.setdefault(name, set()).add(kind)
        return [(name, sorted(kinds)) for name, kinds in sorted(found.items())]

    def close(self) -> None:
        """Stop the thread and withdraw this process's nodes."""
        self._stopping = True
        self._stop.trigger()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5.0)
        self._wait_set.close()
        for entity in (*self._builtin, self._writer.entity, self._reader.entity):
            dds.close(entity)


def _gid(guid: bytes) -> messages.Message:
    return messages.message_class("rmw_dds_common/msg/Gid")(data=list(guid))
