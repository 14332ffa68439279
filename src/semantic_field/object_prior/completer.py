"""What completes objects for the map: a prior for each category, and the rules of its requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from semantic_field.object_prior.completion import Completion, NoPriorError, ObservedObject


class Completer(Protocol):
    """Completes observed objects with the priors of some categories. Need not be thread-safe.

    Attributes:
        part_names: the names of the parts of each category.
    """

    @property
    def part_names(self) -> Mapping[str, tuple[str, ...]]: ...

    def __call__(self, observed: ObservedObject, category: str | None) -> Completion:
        """Return the whole object.

        Args:
            category: what it is; None = what fits best.
        Raises:
            NoPriorError: if it is none of the categories.
            ValueError: if the observation cannot be used.
        """
        ...


class NoPriors:
    """The completer of a place without priors: it completes nothing, and says so.

    Args:
        reason: why there are none.
    """

    def __init__(self, reason: str = "the package has none") -> None:
        self.reason = reason

    @property
    def part_names(self) -> Mapping[str, tuple[str, ...]]:
        return {}

    def __call__(self, observed: ObservedObject, category: str | None) -> Completion:
        raise NoPriorError(f"no prior for anything: {self.reason}")
