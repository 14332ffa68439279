"""Callbacks that do not keep their object alive: maps that are given up are freed at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar
from weakref import WeakMethod

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def weak(method: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The bound method, to be called only while somebody else keeps its object."""
    reference = WeakMethod(method)

    def call(*args: Arguments.args, **more: Arguments.kwargs) -> Result:
        alive = reference()
        assert alive is not None
        return alive(*args, **more)

    return call
