"""Helpers of launch files and of launch itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch.some_substitutions_type import SomeSubstitutionsType
from launch.substitution import Substitution

if TYPE_CHECKING:
    from launch.launch_context import LaunchContext


def normalize_to_list_of_substitutions(subs: SomeSubstitutionsType) -> list[Substitution]:
    """Text, a substitution or several of both as a list of substitutions.

    Raises:
        TypeError: something else was given.
    """
    from launch.substitutions import TextSubstitution

    if isinstance(subs, Substitution):
        return [subs]
    if isinstance(subs, str | Path):
        return [TextSubstitution(text=str(subs))]
    if isinstance(subs, Iterable) and not isinstance(subs, bytes | dict):
        return [one for item in subs for one in normalize_to_list_of_substitutions(item)]
    raise TypeError(f"expected text, a path or substitutions, got {subs!r} ({type(subs).__name__})")


def perform_substitutions(context: LaunchContext, subs: Iterable[Substitution]) -> str:
    """The texts of all substitutions, joined."""
    return "".join(context.perform_substitution(sub) for sub in subs)


def text_of(context: LaunchContext, subs: SomeSubstitutionsType) -> str:
    """The text of whatever may stand for text."""
    return perform_substitutions(context, normalize_to_list_of_substitutions(subs))


def describe(subs: SomeSubstitutionsType) -> str:
    """Substitutions in words."""
    return "".join(sub.describe() for sub in normalize_to_list_of_substitutions(subs))


def is_a(obj: Any, entity_type: type) -> bool:
    return isinstance(obj, entity_type)


def is_a_subclass(obj: Any, entity_type: type) -> bool:
    return isinstance(obj, type) and issubclass(obj, entity_type)


def ensure_argument_type(
    argument: Any, types: type | tuple[type, ...], argument_name: str, caller: str = ""
) -> None:
    """Raises TypeError where the argument is of none of the types."""
    if not isinstance(argument, types):
        raise TypeError(
            f"{caller + ': ' if caller else ''}expected {argument_name} to be {types}, got "
            f"{argument!r} ({type(argument).__name__})"
        )
