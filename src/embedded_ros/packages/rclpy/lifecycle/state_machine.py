"""Lifecycle state machine: states and transitions (design.ros2.org, node_lifecycle).

Ids and labels are those of rcl, so that ``ros2 lifecycle`` works.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from lifecycle_msgs.msg import State as StateMsg
from lifecycle_msgs.msg import Transition as TransitionMsg

from rclpy._rclpy_pybind11 import RCLError


class LifecycleState(NamedTuple):
    label: str
    state_id: int

    def to_msg(self) -> StateMsg:
        return StateMsg(id=self.state_id, label=self.label)


class TransitionCallbackReturn(Enum):
    """Result of a transition callback; FAILURE returns to the previous state."""

    SUCCESS = TransitionMsg.TRANSITION_CALLBACK_SUCCESS
    FAILURE = TransitionMsg.TRANSITION_CALLBACK_FAILURE
    ERROR = TransitionMsg.TRANSITION_CALLBACK_ERROR

    def to_label(self) -> str:
        return f"transition_{self.name.lower()}"


@dataclass(frozen=True)
class Transition:
    transition_id: int
    label: str
    start: LifecycleState
    goal: LifecycleState

    def to_msg(self) -> TransitionMsg:
        return TransitionMsg(id=self.transition_id, label=self.label)


UNKNOWN = LifecycleState("unknown", StateMsg.PRIMARY_STATE_UNKNOWN)
UNCONFIGURED = LifecycleState("unconfigured", StateMsg.PRIMARY_STATE_UNCONFIGURED)
INACTIVE = LifecycleState("inactive", StateMsg.PRIMARY_STATE_INACTIVE)
ACTIVE = LifecycleState("active", StateMsg.PRIMARY_STATE_ACTIVE)
FINALIZED = LifecycleState("finalized", StateMsg.PRIMARY_STATE_FINALIZED)
CONFIGURING = LifecycleState("configuring", StateMsg.TRANSITION_STATE_CONFIGURING)
CLEANING_UP = LifecycleState("cleaningup", StateMsg.TRANSITION_STATE_CLEANINGUP)
SHUTTING_DOWN = LifecycleState("shuttingdown", StateMsg.TRANSITION_STATE_SHUTTINGDOWN)
ACTIVATING = LifecycleState("activating", StateMsg.TRANSITION_STATE_ACTIVATING)
DEACTIVATING = LifecycleState("deactivating", StateMsg.TRANSITION_STATE_DEACTIVATING)
ERROR_PROCESSING = LifecycleState("errorprocessing", StateMsg.TRANSITION_STATE_ERRORPROCESSING)

STATES = (
    UNKNOWN,
    UNCONFIGURED,
    INACTIVE,
    ACTIVE,
    FINALIZED,
    CONFIGURING,
    CLEANING_UP,
    SHUTTING_DOWN,
    ACTIVATING,
    DEACTIVATING,
    ERROR_PROCESSING,
)


def _outcomes(
    first_id: int, start: LifecycleState, *goals: LifecycleState
) -> tuple[Transition, ...]:
    """Return the transitions after success, failure and error of a transition callback."""
    results = zip(TransitionCallbackReturn, goals, strict=True)
    return tuple(
        Transition(first_id + step, result.to_label(), start, goal)
        for step, (result, goal) in enumerate(results)
    )


TRANSITIONS = (
    Transition(TransitionMsg.TRANSITION_CONFIGURE, "configure", UNCONFIGURED, CONFIGURING),
    *_outcomes(10, CONFIGURING, INACTIVE, UNCONFIGURED, ERROR_PROCESSING),
    Transition(TransitionMsg.TRANSITION_CLEANUP, "cleanup", INACTIVE, CLEANING_UP),
    *_outcomes(20, CLEANING_UP, UNCONFIGURED, INACTIVE, ERROR_PROCESSING),
    Transition(TransitionMsg.TRANSITION_ACTIVATE, "activate", INACTIVE, ACTIVATING),
    *_outcomes(30, ACTIVATING, ACTIVE, INACTIVE, ERROR_PROCESSING),
    Transition(TransitionMsg.TRANSITION_DEACTIVATE, "deactivate", ACTIVE, DEACTIVATING),
    *_outcomes(40, DEACTIVATING, INACTIVE, ACTIVE, ERROR_PROCESSING),
    Transition(
        TransitionMsg.TRANSITION_UNCONFIGURED_SHUTDOWN, "shutdown", UNCONFIGURED, SHUTTING_DOWN
    ),
    Transition(TransitionMsg.TRANSITION_INACTIVE_SHUTDOWN, "shutdown", INACTIVE, SHUTTING_DOWN),
    Transition(TransitionMsg.TRANSITION_ACTIVE_SHUTDOWN, "shutdown", ACTIVE, SHUTTING_DOWN),
    *_outcomes(50, SHUTTING_DOWN, FINALIZED, FINALIZED, ERROR_PROCESSING),
    *_outcomes(60, ERROR_PROCESSING, UNCONFIGURED, FINALIZED, FINALIZED),
)


class StateMachine:
    """The current state of a node, and the transitions available from it."""

    def __init__(self) -> None:
        self.current = UNCONFIGURED

    def available(self) -> list[Transition]:
        return [item for item in TRANSITIONS if item.start == self.current]

    def leads_on(self, label: str) -> bool:
        """Return True if a transition with this label starts in the current state."""
        return any(item.label == label for item in self.available())

    def find(self, transition: int | str) -> Transition:
        """Return the transition with this id or label from the current state, or raise RCLError."""
        for item in self.available():
            if transition in (item.transition_id, item.label):
                return item
        choices = ", ".join(f"{t.label} ({t.transition_id})" for t in self.available()) or "none"
        raise RCLError(
            f"No transition matching {transition!r} found for current state "
            f"{self.current.label}; possible: {choices}"
        )

    def take(self, transition: int | str) -> Transition:
        """Perform a transition and return it."""
        taken = self.find(transition)
        self.current = taken.goal
        return taken
