"""Managed entities: follow the lifecycle state of their node."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from rclpy.lifecycle.state_machine import LifecycleState, TransitionCallbackReturn

SUCCESS = TransitionCallbackReturn.SUCCESS


class ManagedEntity:
    """Transition callbacks; by default, all return SUCCESS."""

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        return SUCCESS


class SimpleManagedEntity(ManagedEntity):
    """A managed entity that keeps track of whether its node is active."""

    def __init__(self) -> None:
        self._enabled = False

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._enabled = True
        return SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._enabled = False
        return SUCCESS

    @property
    def is_activated(self) -> bool:
        return self._enabled

    @staticmethod
    def when_enabled(
        wrapped: Callable[..., None] | None = None,
        *,
        when_not_enabled: Callable[..., None] | None = None,
    ) -> Callable[..., Any]:
        """Decorate a method so that it does nothing (or ``when_not_enabled``) while inactive."""

        def decorator(method: Callable[..., None]) -> Callable[..., None]:
            @functools.wraps(method)
            def guarded(self: SimpleManagedEntity, *args: Any, **kwargs: Any) -> None:
                if self._enabled:
                    method(self, *args, **kwargs)
                elif when_not_enabled is not None:
                    when_not_enabled()

            return guarded

        return decorator if wrapped is None else decorator(wrapped)
