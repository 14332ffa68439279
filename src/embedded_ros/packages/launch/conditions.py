"""Conditions under which actions are executed."""

from __future__ import annotations

from launch.launch_context import LaunchContext
from launch.substitution import SomeSubstitutionsType, text_of
from launch.supported import names_of

_TRUTHS = {"true": True, "1": True, "false": False, "0": False}


class InvalidConditionExpressionError(ValueError):
    """The text of a condition is not a truth value."""


def is_true(text: str) -> bool:
    """Return True for ``true`` and ``1``, False for ``false`` and ``0``, ignoring case.

    Raises:
        InvalidConditionExpressionError: if the text is something else.
    """
    truth = _TRUTHS.get(text.strip().lower())
    if truth is None:
        raise InvalidConditionExpressionError(
            f"expected a condition of true, false, 1 or 0, got {text!r}"
        )
    return truth


class Condition:
    """Decides whether an action is executed, by a text that is true or false."""

    _wanted = True

    def __init__(self, predicate_expression: SomeSubstitutionsType) -> None:
        self.expression = predicate_expression

    def evaluate(self, context: LaunchContext) -> bool:
        """Return whether the action is to be executed.

        Raises:
            InvalidConditionExpressionError: if the text is neither true nor false.
        """
        return is_true(text_of(context, self.expression)) is self._wanted


class IfCondition(Condition):
    """Executes the action if the expression is true."""


class UnlessCondition(Condition):
    """Executes the action if the expression is false."""

    _wanted = False


__all__ = ["IfCondition", "InvalidConditionExpressionError", "UnlessCondition"]
__getattr__ = names_of(__name__, __all__)
