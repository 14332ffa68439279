"""Conditions of actions."""

from __future__ import annotations

from typing import Any

from launch.condition import Condition
from launch.launch_context import LaunchContext
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.utilities import describe, text_of

VALID_TRUE_EXPRESSIONS = ("true", "1")
VALID_FALSE_EXPRESSIONS = ("false", "0")


class InvalidConditionExpressionError(ValueError):
    """The text of a condition is neither true nor false."""


class UnsupportedConditionTypeError(ValueError):
    """Kept for launch files that name it."""


def evaluate_condition_text(text: str) -> bool:
    """True for ``true`` and ``1``, False for ``false`` and ``0``, in any case of letters.

    Raises:
        InvalidConditionExpressionError: it is something else.
    """
    word = text.strip().lower()
    if word in VALID_TRUE_EXPRESSIONS:
        return True
    if word in VALID_FALSE_EXPRESSIONS:
        return False
    raise InvalidConditionExpressionError(
        f"expected a condition of true, false, 1 or 0, got {text!r}"
    )


def evaluate_condition_expression(
    context: LaunchContext, expression: SomeSubstitutionsType
) -> bool:
    """As ``evaluate_condition_text``, of substitutions."""
    return evaluate_condition_text(text_of(context, expression))


class IfCondition(Condition):
    """Holds where the expression is true."""

    def __init__(self, predicate_expression: SomeSubstitutionsType) -> None:
        super().__init__(predicate=lambda c: evaluate_condition_expression(c, self.expression))
        self.expression = predicate_expression

    def describe(self) -> str:
        return f"If({describe(self.expression)})"


class UnlessCondition(Condition):
    """Holds where the expression is false."""

    def __init__(self, predicate_expression: SomeSubstitutionsType) -> None:
        super().__init__(predicate=lambda c: not evaluate_condition_expression(c, self.expression))
        self.expression = predicate_expression

    def describe(self) -> str:
        return f"Unless({describe(self.expression)})"


class LaunchConfigurationEquals(Condition):
    """Holds where the configuration has the value; None stands for "is not set"."""

    def __init__(
        self, launch_configuration_name: str, expected_value: SomeSubstitutionsType | None
    ) -> None:
        super().__init__(predicate=self._equal)
        self.name = launch_configuration_name
        self.expected_value = expected_value

    def _equal(self, context: LaunchContext) -> bool:
        value: Any = context.launch_configurations.get(self.name)
        if self.expected_value is None:
            return value is None
        return value is not None and value == text_of(context, self.expected_value)

    def describe(self) -> str:
        expected = "None" if self.expected_value is None else describe(self.expected_value)
        return f"LaunchConfigurationEquals({self.name}, {expected})"


class LaunchConfigurationNotEquals(LaunchConfigurationEquals):
    """Holds where the configuration is not set or has another value."""

    def evaluate(self, context: LaunchContext) -> bool:
        return not super().evaluate(context)
