"""Graph queries of a node: names, types and counts of nodes, topics and services."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from embedded_ros import graph
from embedded_ros.dds_types import ros_type_name
from embedded_ros.graph import Endpoint
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.type_hash import TypeHash


class TopicEndpointTypeEnum(IntEnum):
    INVALID = 0
    PUBLISHER = 1
    SUBSCRIPTION = 2


class TopicEndpointInfo:
    """One publisher or subscription of the graph."""

    def __init__(self, endpoint: Endpoint, node: tuple[str, str] | None) -> None:
        self.node_name, self.node_namespace = node or (
            "_NODE_NAME_UNKNOWN_",
            "_NODE_NAMESPACE_UNKNOWN_",
        )
        self.topic_type = ros_type_name(endpoint.dds_type) or endpoint.dds_type
        self.topic_type_hash = TypeHash.from_text(endpoint.type_hash)
        kind = TopicEndpointTypeEnum
        self.endpoint_type = kind.PUBLISHER if endpoint.is_writer else kind.SUBSCRIPTION
        self.endpoint_gid = list(endpoint.guid)
        self.qos_profile = QoSProfile(
            history=HistoryPolicy[endpoint.qos["history"]],
            depth=endpoint.qos["depth"],
            reliability=ReliabilityPolicy[endpoint.qos["reliability"]],
            durability=DurabilityPolicy[endpoint.qos["durability"]],
        )

    def __repr__(self) -> str:
        return (
            f"TopicEndpointInfo(node={self.node_namespace.rstrip('/')}/{self.node_name}, "
            f"type={self.topic_type}, {self.endpoint_type.name})"
        )


class NodeGraphMixin:
    """Names, types and counts across all processes on the domain."""

    context: Any
    resolve_topic_name: Callable[..., str]
    resolve_service_name: Callable[..., str]

    @property
    def _graph(self) -> graph.Graph:
        return self.context.graph

    def get_node_names(self) -> list[str]:
        return [name for name, _ in self._graph.nodes()]

    def get_node_names_and_namespaces(self) -> list[tuple[str, str]]:
        return self._graph.nodes()

    def get_node_names_and_namespaces_with_enclaves(self) -> list[tuple[str, str, str]]:
        return [(name, namespace, "/") for name, namespace in self._graph.nodes()]

    def get_fully_qualified_node_names(self) -> list[str]:
        return [f"{space.rstrip('/')}/{name}" for name, space in self._graph.nodes()]

    def wait_for_node(self, fully_qualified_node_name: str, timeout: float) -> bool:
        """Wait until that node is in the graph; returns False after ``timeout`` seconds."""
        end = time.monotonic() + timeout
        name = "/" + fully_qualified_node_name.lstrip("/")
        with self._graph.changed:
            while name not in self.get_fully_qualified_node_names():
                left = end - time.monotonic()
                if left <= 0 or not self.context.ok():
                    return False
                self._graph.changed.wait(min(left, 0.1))
        return True

    def get_topic_names_and_types(self, no_demangle: bool = False) -> list[tuple[str, list[str]]]:
        """Return ``[(topic, [types])]``; with ``no_demangle``, DDS topic names."""
        demangle = (lambda name: name) if no_demangle else graph.demangle_topic
        return self._graph.names_and_types(demangle)

    def get_service_names_and_types(self) -> list[tuple[str, list[str]]]:
        requests = [e for e in self._graph.endpoints() if not e.is_writer]
        return self._graph.names_and_types(graph.demangle_service, _servers(requests))

    def get_publisher_names_and_types_by_node(
        self, node_name: str, node_namespace: str, no_demangle: bool = False
    ) -> list[tuple[str, list[str]]]:
        demangle = (lambda name: name) if no_demangle else graph.demangle_topic
        return self._of_node(node_name, node_namespace, demangle, lambda e: e.is_writer)

    def get_subscriber_names_and_types_by_node(
        self, node_name: str, node_namespace: str, no_demangle: bool = False
    ) -> list[tuple[str, list[str]]]:
        demangle = (lambda name: name) if no_demangle else graph.demangle_topic
        return self._of_node(node_name, node_namespace, demangle, lambda e: not e.is_writer)

    def get_service_names_and_types_by_node(
        self, node_name: str, node_namespace: str
    ) -> list[tuple[str, list[str]]]:
        return self._of_node(node_name, node_namespace, graph.demangle_service, _is_server)

    def get_client_names_and_types_by_node(
        self, node_name: str, node_namespace: str
    ) -> list[tuple[str, list[str]]]:
        return self._of_node(
            node_name, node_namespace, graph.demangle_service, lambda e: not _is_server(e)
        )

    def _of_node(
        self,
        name: str,
        namespace: str,
        demangle: Callable[[str], str | None],
        wanted: Callable[[Endpoint], bool],
    ) -> list[tuple[str, list[str]]]:
        endpoints = [
            endpoint
            for endpoint in self._graph.endpoints()
            if wanted(endpoint) and self._graph.node_of(endpoint.guid) == (name, namespace)
        ]
        return self._graph.names_and_types(demangle, endpoints)

    def count_publishers(self, topic_name: str) -> int:
        return len(self._endpoints_of(topic_name, is_writer=True))

    def count_subscribers(self, topic_name: str) -> int:
        return len(self._endpoints_of(topic_name, is_writer=False))

    def count_services(self, service_name: str) -> int:
        return self._count_requests(service_name, is_writer=False)

    def count_clients(self, service_name: str) -> int:
        return self._count_requests(service_name, is_writer=True)

    def _count_requests(self, service_name: str, is_writer: bool) -> int:
        wanted = graph.mangle(graph.REQUEST, self.resolve_service_name(service_name), "Request")
        return sum(
            1
            for endpoint in self._graph.endpoints()
            if endpoint.dds_topic == wanted and endpoint.is_writer == is_writer
        )

    def get_publishers_info_by_topic(
        self, topic_name: str, no_mangle: bool = False
    ) -> list[TopicEndpointInfo]:
        return self._infos(topic_name, True, no_mangle)

    def get_subscriptions_info_by_topic(
        self, topic_name: str, no_mangle: bool = False
    ) -> list[TopicEndpointInfo]:
        return self._infos(topic_name, False, no_mangle)

    def _infos(self, topic: str, is_writer: bool, no_mangle: bool) -> list[TopicEndpointInfo]:
        return [
            TopicEndpointInfo(endpoint, self._graph.node_of(endpoint.guid))
            for endpoint in self._endpoints_of(topic, is_writer, no_mangle)
        ]

    def _endpoints_of(
        self, topic_name: str, is_writer: bool, no_mangle: bool = False
    ) -> list[Endpoint]:
        if no_mangle:
            wanted = topic_name
        else:
            wanted = graph.mangle(graph.TOPIC, self.resolve_topic_name(topic_name))
        return [
            endpoint
            for endpoint in self._graph.endpoints()
            if endpoint.dds_topic == wanted and endpoint.is_writer == is_writer
        ]


def _is_server(endpoint: Endpoint) -> bool:
    is_request = endpoint.dds_topic.startswith(graph.REQUEST + "/")
    return is_request != endpoint.is_writer


def _servers(endpoints: list[Endpoint]) -> list[Endpoint]:
    return [endpoint for endpoint in endpoints if _is_server(endpoint)]
