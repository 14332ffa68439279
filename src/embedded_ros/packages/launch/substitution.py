"""What a launch file writes in place of text that is known only when it is launched."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext


class Substitution(ABC):
    """A piece of text that is worked out in the context of a launch."""

    def describe(self) -> str:
        """The substitution itself in words, for error messages."""
        return f"{type(self).__name__}()"

    @abstractmethod
    def perform(self, context: LaunchContext) -> str:
        """The text."""
