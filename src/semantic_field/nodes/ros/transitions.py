"""Transitions of a managed node that say why they failed: rclpy swallows what they raise."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import State, TransitionCallbackReturn

from semantic_field.nodes.ros.guarding import REFUSED

Transition = Callable[[Any, State], TransitionCallbackReturn]


def told(transition: Transition) -> Transition:
    """The callback ``on_…`` of a transition, which logs what it raises.

    What is wrong around the node (a file, a setting) is a FAILURE: the node stays in the state
    that it was in, and the transition may be tried again. A fault of this program is an ERROR,
    and is logged with its traceback.
    """
    name = transition.__name__.removeprefix("on_")

    @functools.wraps(transition)
    def run(self: Any, state: State) -> TransitionCallbackReturn:
        try:
            return transition(self, state)
        except REFUSED as error:
            again = f"ros2 lifecycle set {self.get_fully_qualified_name()} {name}"
            self.get_logger().error(f"could not {name}: {error}; then again: {again}")
            return TransitionCallbackReturn.FAILURE
        except Exception:  # rclpy makes an ERROR of whatever it is, but says nothing
            self.get_logger().error(f"could not {name}:\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR

    return run
