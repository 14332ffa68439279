"""Callbacks that do not keep their object alive, so that discarded maps are freed at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar
from weakref import WeakMethod

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def weak(method: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Return a function that calls a bound method without keeping its object alive.

    It may only be called while the object exists.
    """
    reference = WeakMethod(method)

    def call(*args: Arguments.args, **more: Arguments.kwargs) -> Result:
        alive = reference()
        assert alive is not None
        return alive(*args, **more)

    return call
