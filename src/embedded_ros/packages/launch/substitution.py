"""Base of substitutions, which stand for text that is known only during the launch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from launch.launch_context import LaunchContext


class SubstitutionFailure(RuntimeError):
    """A substitution has no text in the context in which it is performed."""


class Substitution(ABC):
    """A piece of text that is determined in the context of a launch."""

    def describe(self) -> str:
        """Return a description of the substitution: its class and its arguments."""
        parts = (describe(value) for value in vars(self).values() if value is not None)
        return f"{type(self).__name__}({', '.join(parts)})"

    @abstractmethod
    def perform(self, context: LaunchContext) -> str:
        """Return the text.

        Raises:
            SubstitutionFailure: if there is none in this context.
        """


class TextSubstitution(Substitution):
    """A constant text."""

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
    """Return text, a path, a substitution, or several of these as a list of substitutions.

    Raises:
        TypeError: if something else is given.
    """
    if isinstance(subs, Substitution):
        return [subs]
    if isinstance(subs, str | Path):
        return [TextSubstitution(text=str(subs))]
    if isinstance(subs, Iterable) and not isinstance(subs, bytes | dict):
        return [one for item in subs for one in normalize_to_list_of_substitutions(item)]
    raise TypeError(f"expected text, a path or substitutions, got {subs!r} ({type(subs).__name__})")


def text_of(context: LaunchContext, subs: SomeSubstitutionsType) -> str:
    """Return the joined text of text, paths and substitutions.

    Raises:
        SubstitutionFailure: if a substitution has no text in this context.
    """
    return "".join(sub.perform(context) for sub in normalize_to_list_of_substitutions(subs))


def describe(value: Any) -> str:
    """Return a description of text, substitutions, or several of these."""
    if isinstance(value, Substitution):
        return value.describe()
    if isinstance(value, list | tuple):
        return " + ".join(describe(item) for item in value)
    return repr(value)
