"""Nodes."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from rclpy import _names, logging
from rclpy._arguments import parse_arguments
from rclpy._node_entities import NodeEntitiesMixin
from rclpy._node_graph import NodeGraphMixin
from rclpy._node_parameters import NodeParametersMixin
from rclpy.callback_groups import (
    CallbackGroup,
    MutuallyExclusiveCallbackGroup,
)
from rclpy.client import Client
from rclpy.clock import Clock, ROSClock
from rclpy.exceptions import NotInitializedException
from rclpy.guard_condition import GuardCondition
from rclpy.publisher import Publisher
from rclpy.qos import (
    qos_profile_rosout_default,
)
from rclpy.service import Service
from rclpy.subscription import Subscription
from rclpy.time_source import TimeSource
from rclpy.timer import Timer
from rclpy.utilities import get_default_context

HIDDEN_NODE_PREFIX = "_"


class Node(NodeEntitiesMixin, NodeGraphMixin, NodeParametersMixin):
    """A ROS node: creates publishers, subscriptions, services, clients and timers."""

    def __init__(
        self,
        node_name: str,
        *,
        context: Any = None,
        cli_args: list[str] | None = None,
        namespace: str | None = None,
        use_global_arguments: bool = True,
        enable_rosout: bool = True,
        start_parameter_services: bool = True,
        parameter_overrides: list[Any] | None = None,
        allow_undeclared_parameters: bool = False,
        automatically_declare_parameters_from_overrides: bool = False,
        enable_logger_service: bool = False,
    ) -> None:
        self._context = get_default_context() if context is None else context
        if not self._context.ok():
            raise NotInitializedException("cannot create node")
        self._read_arguments(cli_args, use_global_arguments)
        self._resolve_name(node_name, namespace or "")
        self._lock = threading.RLock()
        self._publishers: list[Publisher] = []
        self._subscriptions: list[Subscription] = []
        self._services: list[Service] = []
        self._clients: list[Client] = []
        self._timers: list[Timer] = []
        self._guards: list[GuardCondition] = []
        self._executor: Callable[[], Any] = lambda: None
        self._destroyed = False
        self._default_callback_group = MutuallyExclusiveCallbackGroup()
        self._logger = logging.get_logger(
            self.get_fully_qualified_name().strip("/").replace("/", ".")
        )
        self._announced = self._context.graph.add_node(self._namespace, self._name)
        self._announcing = False
        self._clock = ROSClock()
        self._clock._on_change = self._wake_executor
        self._clock_source = TimeSource()
        self._context.track_node(self)
        if enable_rosout and self._arguments.rosout:
            self._connect_rosout()
        self._initialise_parameters(
            self._overrides(parameter_overrides or []),
            allow_undeclared_parameters,
            automatically_declare_parameters_from_overrides,
            start_parameter_services,
        )
        if enable_logger_service:
            self._start_logger_services()
        self._announcing = True
        self._announce()

    # --- construction -------------------------------------------------------------------------

    def _read_arguments(self, cli_args: list[str] | None, use_global_arguments: bool) -> None:
        self._arguments = parse_arguments(cli_args)
        if use_global_arguments:
            self._arguments = self._arguments.merged_with(self._context.arguments)

    def _resolve_name(self, node_name: str, namespace: str) -> None:
        # A rule that renames a node refers to its original name; all other rules to the new one.
        given = _names.check_node_name(node_name)
        self._name = _names.check_node_name(self._arguments.special("__node", given) or given)
        self._namespace = _names.check_namespace(
            self._arguments.special("__ns", self._name) or namespace or "/"
        )

    def _overrides(self, given: list[Any]) -> dict[str, Any]:
        values = self._arguments.parameters_for(self.get_fully_qualified_name())
        return {**values, **{parameter.name: parameter for parameter in given}}

    def _connect_rosout(self) -> None:
        from rcl_interfaces.msg import Log

        self._rosout = self.create_publisher(Log, "/rosout", qos_profile_rosout_default)
        logging.connect_rosout(self._logger.name, self._rosout)

    def _start_logger_services(self) -> None:
        from rclpy._logger_service import LoggerService

        self._logger_service = LoggerService(self)

    # --- properties ---------------------------------------------------------------------------

    @property
    def context(self) -> Any:
        return self._context

    @property
    def handle(self) -> Node:
        return self

    @property
    def executor(self) -> Any:
        return self._executor()

    @executor.setter
    def executor(self, executor: Any) -> None:
        current = self.executor
        if current is executor:
            return
        if current is not None:
            current.remove_node(self)
        self._executor = weakref.ref(executor) if executor is not None else lambda: None
        if executor is not None:
            executor.add_node(self)

    @property
    def default_callback_group(self) -> CallbackGroup:
        return self._default_callback_group

    @property
    def publishers(self) -> Iterator[Publisher]:
        yield from list(self._publishers)

    @property
    def subscriptions(self) -> Iterator[Subscription]:
        yield from list(self._subscriptions)

    @property
    def services(self) -> Iterator[Service]:
        yield from list(self._services)

    @property
    def clients(self) -> Iterator[Client]:
        yield from list(self._clients)

    @property
    def timers(self) -> Iterator[Timer]:
        yield from list(self._timers)

    @property
    def guards(self) -> Iterator[GuardCondition]:
        yield from list(self._guards)

    def get_name(self) -> str:
        return self._name

    def get_namespace(self) -> str:
        return self._namespace

    def get_fully_qualified_name(self) -> str:
        return _names.full_node_name(self._namespace, self._name)

    def get_logger(self) -> logging.RcutilsLogger:
        return self._logger

    def get_clock(self) -> Clock:
        return self._clock

    def resolve_topic_name(self, topic: str, *, only_expand: bool = False) -> str:
        """The absolute name, remapped unless ``only_expand``."""
        return self._resolve(topic, only_expand, is_service=False)

    def resolve_service_name(self, service: str, *, only_expand: bool = False) -> str:
        """The absolute name, remapped unless ``only_expand``."""
        return self._resolve(service, only_expand, is_service=True)

    def _resolve(self, name: str, only_expand: bool, is_service: bool) -> str:
        if only_expand:
            return _names.expand(name, self._name, self._namespace, is_service)
        return _names.remap(name, self._name, self._namespace, self._arguments, is_service)

    # --- destruction --------------------------------------------------------------------------

    def destroy_node(self) -> None:
        """Destroy everything the node created, and remove it from the graph."""
        if self._destroyed:
            return
        self._destroyed = True
        self._announcing = False
        executor = self.executor
        if executor is not None:
            executor.remove_node(self)
        logging.disconnect_rosout(self._logger.name)
        for kept in (
            self._timers,
            self._guards,
            self._services,
            self._clients,
            self._subscriptions,
            self._publishers,
        ):
            for entity in list(kept):
                self._drop(kept, entity)
        self._clock_source.detach_node()
        if self._context._graph is not None:
            self._context._graph.remove_node(self._announced)
        self._context.untrack_node(self)

    # --- internals ----------------------------------------------------------------------------

    def _waitable_entities(self) -> list[Any]:
        """Return the entities whose DDS conditions an executor waits for."""
        ends = [*self._subscriptions, *self._publishers]
        events = [end.event_handlers for end in ends if end.event_handlers._is_wanted]
        return [*self._subscriptions, *self._services, *self._clients, *self._guards, *events]

    def _keep(self, kept: list, entity: Any) -> Any:
        with self._lock:
            kept.append(entity)
            readers, writers = entity._guids()
            self._announced.readers += readers
            self._announced.writers += writers
        self._announce()
        self._entities_changed()
        return entity

    def _drop(self, kept: list, entity: Any) -> bool:
        with self._lock:
            if entity not in kept:
                return False
            kept.remove(entity)
            if hasattr(entity, "_guids"):
                readers, writers = entity._guids()
                for guid in readers:
                    self._announced.readers.remove(guid)
                for guid in writers:
                    self._announced.writers.remove(guid)
        self._entities_changed()
        entity.destroy()
        self._announce()
        return True

    def _announce(self) -> None:
        # While a node is constructed or destroyed, its entities are announced once, at the end.
        if self._announcing and self._context._graph is not None:
            self._context._graph.announce()

    def _entities_changed(self) -> None:
        executor = self.executor
        if executor is not None:
            executor._on_entities_changed()

    def _wake_executor(self) -> None:
        executor = self.executor
        if executor is not None:
            executor.wake()

    def __repr__(self) -> str:
        return f"<Node {self.get_fully_qualified_name()}>"
