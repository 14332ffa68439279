"""Substitutions that are ``true`` or ``false``, for conditions."""

from __future__ import annotations

import math
from typing import Any

from launch.conditions import evaluate_condition_text
from launch.launch_context import LaunchContext
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.substitution import Substitution
from launch.utilities import text_of


def _text(value: bool) -> str:
    return "true" if value else "false"


def _given(value: Any) -> SomeSubstitutionsType:
    return str(value) if isinstance(value, bool | int | float) else value


class NotSubstitution(Substitution):
    """True where the value is false."""

    def __init__(self, value: SomeSubstitutionsType) -> None:
        self.value = value

    def perform(self, context: LaunchContext) -> str:
        return _text(not evaluate_condition_text(text_of(context, self.value)))


class _Combination(Substitution):
    def __init__(self, *values: SomeSubstitutionsType) -> None:
        self.values = values

    def _evaluated(self, context: LaunchContext):
        return (evaluate_condition_text(text_of(context, value)) for value in self.values)


class AllSubstitution(_Combination):
    """True where all values are."""

    def perform(self, context: LaunchContext) -> str:
        return _text(all(self._evaluated(context)))


class AnySubstitution(_Combination):
    """True where one of the values is."""

    def perform(self, context: LaunchContext) -> str:
        return _text(any(self._evaluated(context)))


class AndSubstitution(AllSubstitution):
    """True where both values are."""

    def __init__(self, left: SomeSubstitutionsType, right: SomeSubstitutionsType) -> None:
        super().__init__(left, right)


class OrSubstitution(AnySubstitution):
    """True where one or both values are."""

    def __init__(self, left: SomeSubstitutionsType, right: SomeSubstitutionsType) -> None:
        super().__init__(left, right)


class EqualsSubstitution(Substitution):
    """True where both sides are the same number, truth value or text."""

    def __init__(self, left: Any, right: Any) -> None:
        self.left = _given(left)
        self.right = _given(right)

    def perform(self, context: LaunchContext) -> str:
        return _text(_equal(text_of(context, self.left), text_of(context, self.right)))


class NotEqualsSubstitution(EqualsSubstitution):
    """True where the sides differ."""

    def perform(self, context: LaunchContext) -> str:
        return _text(not _equal(text_of(context, self.left), text_of(context, self.right)))


class IfElseSubstitution(Substitution):
    """One of two values, after a condition."""

    def __init__(
        self,
        condition: SomeSubstitutionsType,
        if_value: SomeSubstitutionsType = "",
        else_value: SomeSubstitutionsType = "",
    ) -> None:
        self.condition = condition
        self.if_value = if_value
        self.else_value = else_value

    def perform(self, context: LaunchContext) -> str:
        holds = evaluate_condition_text(text_of(context, self.condition))
        return text_of(context, self.if_value if holds else self.else_value)


def _equal(left: str, right: str) -> bool:
    if left == right:
        return True
    truths = {"true": True, "1": True, "false": False, "0": False}
    if left.lower() in truths and right.lower() in truths:
        return truths[left.lower()] == truths[right.lower()]
    try:
        return math.isclose(float(left), float(right))
    except ValueError:
        return False
