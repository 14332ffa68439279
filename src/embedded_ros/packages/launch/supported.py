"""Errors for names and arguments that exist in ROS 2's launch but are not supported here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import NoReturn


def names_of(
    module: str, names: Iterable[str], not_loaded: Iterable[str] = ()
) -> Callable[[str], NoReturn]:
    """Return a ``__getattr__`` for a module that raises an ImportError with the supported names.

    Args:
        module: name of the module.
        names: its names.
        not_loaded: submodules that have to be imported by their own name; for these, and for
            private names, it raises an AttributeError.
    """

    def __getattr__(name: str) -> NoReturn:  # noqa: N807
        if name.startswith("_") or name in not_loaded:
            raise AttributeError(f"module {module!r} has no attribute {name!r} as yet")
        raise ImportError(
            f"{module}.{name} is not there without ROS 2; there are: "
            f"{', '.join([*names, *not_loaded])}"
        )

    return __getattr__


def refuse_arguments(made: type, given: Iterable[str]) -> None:
    """Raise a TypeError if there are unsupported keyword arguments; names the supported ones.

    Args:
        made: class that was to be created.
        given: the unsupported arguments.
    """
    unknown = ", ".join(given)
    if not unknown:
        return
    known = dict.fromkeys(
        name
        for kind in made.__mro__
        if "__init__" in vars(kind) and kind is not object
        for name, parameter in inspect.signature(kind.__init__).parameters.items()
        if name != "self" and parameter.kind is not parameter.VAR_KEYWORD
    )
    raise TypeError(
        f"{made.__name__} takes no {unknown} without ROS 2; it takes: {', '.join(known)}"
    )
