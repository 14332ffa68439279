"""Text that is known only when it is launched: the base of substitutions, and joining them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from launch.launch_context import LaunchContext


class SubstitutionFailure(RuntimeError):
    """A substitution has no text in the context it was performed in."""


class Substitution(ABC):
    """A piece of text that is worked out in the context of a launch."""

    def describe(self) -> str:
        """The substitution itself in words: its name, and what it was made with."""
        parts = (describe(value) for value in vars(self).values() if value is not None)
        return f"{type(self).__name__}({', '.join(parts)})"

    @abstractmethod
    def perform(self, context: LaunchContext) -> str:
        """The text; raises SubstitutionFailure where there is none."""


class TextSubstitution(Substitution):
    """The text itself."""

    def __init__(self, *, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"expected text, got {text!r} ({type(text).__name__})")
        self.text = text

    def describe(self) -> str:
        return repr(self.text)

    def perform(self, context: LaunchContext) -> str:
        return self.text


SomeSubstitutionsType = str | Path | Substitution | Iterable[str | Path | Substitution]


def normalize_to_list_of_substitutions(subs: SomeSubstitutionsType) -> list[Substitution]:
    """Text, a substitution or several of both as a list of substitutions.

    Raises:
        TypeError: something else was given.
    """
    if isinstance(subs, Substitution):
        return [subs]
    if isinstance(subs, str | Path):
        return [TextSubstitution(text=str(subs))]
    if isinstance(subs, Iterable) and not isinstance(subs, bytes | dict):
        return [one for item in subs for one in normalize_to_list_of_substitutions(item)]
    raise TypeError(f"expected text, a path or substitutions, got {subs!r} ({type(subs).__name__})")


def text_of(context: LaunchContext, subs: SomeSubstitutionsType) -> str:
    """The text of whatever may stand for text."""
    return "".join(sub.perform(context) for sub in normalize_to_list_of_substitutions(subs))


def describe(value: Any) -> str:
    """Whatever may stand for text, in words."""
    if isinstance(value, Substitution):
        return value.describe()
    if isinstance(value, list | tuple):
        return " + ".join(describe(item) for item in value)
    return repr(value)
