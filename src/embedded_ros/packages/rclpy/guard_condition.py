"""Guard conditions: callbacks that any thread can trigger in an executor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from embedded_ros import dds


class GuardCondition:
    """Runs its callback in the executor after ``trigger()``."""

    def __init__(
        self, callback: Callable[[], Any] | None, callback_group: Any, context: Any = None
    ) -> None:
        from rclpy.utilities import get_default_context

        self.callback, self.callback_group = callback, callback_group
        self._context = context or get_default_context()
        self._guard = dds.GuardCondition(self._context.participant)
        self._condition = self._guard.condition

    @property
    def handle(self) -> GuardCondition:
        return self

    def trigger(self) -> None:
        self._guard.trigger()

    def _take_job(self) -> Callable[[], Any] | None:
        return (self.callback or (lambda: None)) if self._guard.take() else None

    def _guids(self) -> tuple[list[bytes], list[bytes]]:
        return [], []

    def destroy(self) -> None:
        self._guard.close()
