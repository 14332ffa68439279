"""Lifecycle node: transition callbacks, and the services that trigger them."""

from __future__ import annotations

import threading
from typing import Any

from lifecycle_msgs.msg import TransitionDescription, TransitionEvent
from lifecycle_msgs.srv import (
    ChangeState,
    GetAvailableStates,
    GetAvailableTransitions,
    GetState,
)

from rclpy.lifecycle.managed_entity import ManagedEntity
from rclpy.lifecycle.publisher import LifecyclePublisher
from rclpy.lifecycle.state_machine import (
    STATES,
    TRANSITIONS,
    LifecycleState,
    StateMachine,
    Transition,
    TransitionCallbackReturn,
)
from rclpy.node import Node

SUCCESS, ERROR = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.ERROR

CALLBACKS = {
    "configuring": "on_configure",
    "cleaningup": "on_cleanup",
    "shuttingdown": "on_shutdown",
    "activating": "on_activate",
    "deactivating": "on_deactivate",
    "errorprocessing": "on_error",
}


class LifecycleNodeMixin(ManagedEntity):
    """Adds the lifecycle to a Node; its constructor must run after Node's.

    The ``on_…`` callbacks get the previous state. By default each calls that of the managed
    entities (such as lifecycle publishers), up to the first that does not succeed; an override
    should call ``super().on_…(state)``. As in rclpy, an exception in a callback counts as ERROR
    and is not logged, and the callbacks are bound at construction.
    """

    def __init__(
        self, *, enable_communication_interface: bool = True, callback_group: Any = None
    ) -> None:
        self.__state_machine = StateMachine()
        self.__callbacks = {label: getattr(self, name) for label, name in CALLBACKS.items()}
        self._managed_entities: dict[ManagedEntity, None] = {}  # in order of creation
        self.__transition_lock = threading.RLock()
        self.__transition_publisher = None
        if enable_communication_interface:
            self.__transition_publisher = self.create_publisher(
                TransitionEvent, "~/transition_event", 10
            )
            for name, kind, callback in (
                ("change_state", ChangeState, self.__on_change_state),
                ("get_state", GetState, self.__on_get_state),
                ("get_available_states", GetAvailableStates, self.__on_get_states),
                (
                    "get_available_transitions",
                    GetAvailableTransitions,
                    self.__on_get_transitions,
                ),
                ("get_transition_graph", GetAvailableTransitions, self.__on_get_graph),
            ):
                self.create_service(kind, f"~/{name}", callback, callback_group=callback_group)

    # --- transitions from within --------------------------------------------------------------
    # These raise RCLError if the transition does not start in the current state.

    def trigger_configure(self) -> TransitionCallbackReturn:
        return self.__change_state("configure")

    def trigger_cleanup(self) -> TransitionCallbackReturn:
        return self.__change_state("cleanup")

    def trigger_activate(self) -> TransitionCallbackReturn:
        return self.__change_state("activate")

    def trigger_deactivate(self) -> TransitionCallbackReturn:
        return self.__change_state("deactivate")

    def trigger_shutdown(self) -> TransitionCallbackReturn:
        return self.__change_state("shutdown")

    def __change_state(self, transition: int | str) -> TransitionCallbackReturn:
        with self.__transition_lock:
            before = self.__state_machine.current
            self.__go(transition)
            result = self.__call_back(before)
            self.__go(result.to_label())
            if result is ERROR:
                self.__go(self.__call_back(before).to_label())
            return result

    def __go(self, transition: int | str) -> None:
        taken = self.__state_machine.take(transition)
        if self.__transition_publisher is not None and self.context.ok():
            self.__transition_publisher.publish(
                # The other fields stay empty, as in rcl.
                TransitionEvent(start_state=taken.start.to_msg(), goal_state=taken.goal.to_msg())
            )

    def __call_back(self, before: LifecycleState) -> TransitionCallbackReturn:
        try:
            return self.__callbacks[self.__state_machine.current.label](before)
        except Exception:  # swallowed as in rclpy, so that no code here relies on a log
            return ERROR

    # --- managed entities ---------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self.__pass_on("on_configure", state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self.__pass_on("on_cleanup", state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self.__pass_on("on_shutdown", state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self.__pass_on("on_activate", state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self.__pass_on("on_deactivate", state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self.__pass_on("on_error", state)

    def __pass_on(self, callback: str, state: LifecycleState) -> TransitionCallbackReturn:
        for entity in list(self._managed_entities):
            result = getattr(entity, callback)(state)
            if not isinstance(result, TransitionCallbackReturn):
                raise TypeError(f"{callback} must return a TransitionCallbackReturn: {entity}")
            if result is not SUCCESS:
                return result
        return SUCCESS

    def add_managed_entity(self, entity: ManagedEntity) -> None:
        if not isinstance(entity, ManagedEntity):
            raise TypeError(f"expected a rclpy.lifecycle.ManagedEntity, got {entity!r}")
        self._managed_entities[entity] = None

    def create_lifecycle_publisher(self, *args: Any, **kwargs: Any) -> LifecyclePublisher:
        """Like ``create_publisher``; it does not publish while the node is inactive."""
        publisher = self.create_publisher(*args, publisher_class=LifecyclePublisher, **kwargs)
        self.add_managed_entity(publisher)
        return publisher

    def destroy_lifecycle_publisher(self, publisher: LifecyclePublisher) -> bool:
        self._managed_entities.pop(publisher, None)
        return self.destroy_publisher(publisher)

    # --- services -----------------------------------------------------------------------------

    def __on_change_state(
        self, request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        # As in rclpy: a label takes precedence if given, and is refused if it does not start here
        # from here. A number that does not is RCLError, in the executor.
        transition = request.transition.label or request.transition.id
        if request.transition.label and not self.__state_machine.leads_on(transition):
            response.success = False
            return response
        response.success = self.__change_state(transition) is SUCCESS
        return response

    def __on_get_state(
        self, request: GetState.Request, response: GetState.Response
    ) -> GetState.Response:
        response.current_state = self.__state_machine.current.to_msg()
        return response

    def __on_get_states(
        self, request: GetAvailableStates.Request, response: GetAvailableStates.Response
    ) -> GetAvailableStates.Response:
        response.available_states = [state.to_msg() for state in STATES]
        return response

    def __on_get_transitions(
        self, request: GetAvailableTransitions.Request, response: GetAvailableTransitions.Response
    ) -> GetAvailableTransitions.Response:
        response.available_transitions = _descriptions(self.__state_machine.available())
        return response

    def __on_get_graph(
        self, request: GetAvailableTransitions.Request, response: GetAvailableTransitions.Response
    ) -> GetAvailableTransitions.Response:
        response.available_transitions = _descriptions(list(TRANSITIONS))
        return response


class LifecycleNode(LifecycleNodeMixin, Node):
    """A lifecycle node; takes Node's arguments."""

    def __init__(
        self,
        node_name: str,
        *,
        enable_communication_interface: bool = True,
        **kwargs: Any,
    ) -> None:
        Node.__init__(self, node_name, **kwargs)
        LifecycleNodeMixin.__init__(
            self, enable_communication_interface=enable_communication_interface
        )


def _descriptions(transitions: list[Transition]) -> list[TransitionDescription]:
    return [
        TransitionDescription(
            transition=item.to_msg(), start_state=item.start.to_msg(), goal_state=item.goal.to_msg()
        )
        for item in transitions
    ]
