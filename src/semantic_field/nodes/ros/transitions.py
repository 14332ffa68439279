"""Lifecycle transitions that log why they failed: rclpy swallows their exceptions."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import State, TransitionCallbackReturn

from semantic_field.nodes.ros.guarding import REFUSED

Transition = Callable[[Any, State], TransitionCallbackReturn]


def told(transition: Transition) -> Transition:
    """Decorate a transition callback ``on_…`` so that its exceptions are logged.

    An error outside the program (a file, a setting) is a FAILURE: the node stays in its state,
    and the transition may be tried again. A bug is an ERROR, logged with its traceback.
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
        except Exception:  # rclpy turns any exception into an ERROR without logging it
            self.get_logger().error(f"could not {name}:\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR

    return run
