"""Creates and destroys a node's publishers, subscriptions, services, clients and timers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup, ReentrantCallbackGroup
from rclpy.client import Client
from rclpy.clock import Clock
from rclpy.guard_condition import GuardCondition
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, copy_of, qos_profile_services_default
from rclpy.service import Service
from rclpy.subscription import Subscription
from rclpy.timer import Rate, Timer
from rclpy.utilities import get_message_type_name


class NodeEntitiesMixin:
    """The ``create_`` and ``destroy_`` methods of Node."""

    _context: Any
    _clock: Clock
    _default_callback_group: CallbackGroup
    _publishers: list[Publisher]
    _subscriptions: list[Subscription]
    _services: list[Service]
    _clients: list[Client]
    _timers: list[Timer]
    _guards: list[GuardCondition]
    resolve_topic_name: Callable[..., str]
    resolve_service_name: Callable[..., str]
    _keep: Callable[[list, Any], Any]
    _drop: Callable[[list, Any], bool]
    _entities_changed: Callable[[], None]
    _wake_executor: Callable[[], None]

    def create_publisher(
        self,
        msg_type: type,
        topic: str,
        qos_profile: QoSProfile | int,
        *,
        callback_group: CallbackGroup | None = None,
        event_callbacks: Any = None,
        qos_overriding_options: Any = None,
        publisher_class: type[Publisher] = Publisher,
    ) -> Publisher:
        """Create a publisher of ``topic``; ``qos_profile`` may be just the depth."""
        get_message_type_name(msg_type)
        publisher = publisher_class(
            self,
            msg_type,
            self.resolve_topic_name(topic),
            copy_of(qos_profile),
            event_callbacks,
            callback_group or self._default_callback_group,
        )
        return self._keep(self._publishers, publisher)

    def create_subscription(
        self,
        msg_type: type,
        topic: str,
        callback: Callable[..., Any],
        qos_profile: QoSProfile | int,
        *,
        callback_group: CallbackGroup | None = None,
        event_callbacks: Any = None,
        qos_overriding_options: Any = None,
        raw: bool = False,
    ) -> Subscription:
        """Create a subscription that calls ``callback(message)`` or ``callback(message, info)``.

        With ``raw``, ``message`` is the serialised bytes.
        """
        get_message_type_name(msg_type)
        group = callback_group or self._default_callback_group
        subscription = Subscription(
            self,
            msg_type,
            self.resolve_topic_name(topic),
            callback,
            group,
            copy_of(qos_profile),
            raw,
            event_callbacks,
        )
        group.add_entity(subscription)
        return self._keep(self._subscriptions, subscription)

    def create_service(
        self,
        srv_type: Any,
        srv_name: str,
        callback: Callable[[Any, Any], Any],
        *,
        qos_profile: QoSProfile = qos_profile_services_default,
        callback_group: CallbackGroup | None = None,
    ) -> Service:
        """Create a service; ``callback(request, response)`` returns the response."""
        get_message_type_name(srv_type)
        group = callback_group or self._default_callback_group
        name = self.resolve_service_name(srv_name)
        service = Service(self, srv_type, name, callback, group, copy_of(qos_profile))
        group.add_entity(service)
        return self._keep(self._services, service)

    def create_client(
        self,
        srv_type: Any,
        srv_name: str,
        *,
        qos_profile: QoSProfile = qos_profile_services_default,
        callback_group: CallbackGroup | None = None,
    ) -> Client:
        """Create a client of the service ``srv_name``."""
        get_message_type_name(srv_type)
        group = callback_group or self._default_callback_group
        name = self.resolve_service_name(srv_name)
        client = Client(self, srv_type, name, copy_of(qos_profile), group)
        group.add_entity(client)
        return self._keep(self._clients, client)

    def create_timer(
        self,
        timer_period_sec: float,
        callback: Callable[[], Any] | None,
        callback_group: CallbackGroup | None = None,
        clock: Clock | None = None,
        autostart: bool = True,
    ) -> Timer:
        """Create a timer that calls ``callback()`` every ``timer_period_sec``.

        Its clock is the node's, unless ``clock`` is given.
        """
        group = callback_group or self._default_callback_group
        timer = Timer(
            callback or (lambda: None),
            group,
            int(float(timer_period_sec) * 1e9),
            clock or self._clock,
            context=self._context,
            autostart=autostart,
            wake=self._wake_executor,
        )
        group.add_entity(timer)
        self._timers.append(timer)
        self._entities_changed()
        return timer

    def create_guard_condition(
        self, callback: Callable[[], Any], callback_group: CallbackGroup | None = None
    ) -> GuardCondition:
        """Create a guard condition: after ``trigger()`` the executor calls ``callback()``."""
        group = callback_group or self._default_callback_group
        guard = GuardCondition(callback, group, self._context)
        group.add_entity(guard)
        self._guards.append(guard)
        self._entities_changed()
        return guard

    def create_rate(self, frequency: float, clock: Clock | None = None) -> Rate:
        """Create a Rate, whose ``sleep()`` maintains a frequency in Hz."""
        if frequency <= 0:
            raise ValueError("frequency must be > 0")
        group = ReentrantCallbackGroup()
        timer = self.create_timer(1.0 / frequency, None, callback_group=group, clock=clock)
        return Rate(timer, context=self._context)

    def destroy_publisher(self, publisher: Publisher) -> bool:
        return self._drop(self._publishers, publisher)

    def destroy_subscription(self, subscription: Subscription) -> bool:
        return self._drop(self._subscriptions, subscription)

    def destroy_service(self, service: Service) -> bool:
        return self._drop(self._services, service)

    def destroy_client(self, client: Client) -> bool:
        return self._drop(self._clients, client)

    def destroy_timer(self, timer: Timer) -> bool:
        return self._drop(self._timers, timer)

    def destroy_guard_condition(self, guard: GuardCondition) -> bool:
        return self._drop(self._guards, guard)

    def destroy_rate(self, rate: Rate) -> bool:
        done = self._drop(self._timers, rate._timer)
        rate.destroy()
        return done
