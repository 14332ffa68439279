"""The one error for names and arguments that ROS 2's launch has and this one has not."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import NoReturn


def names_of(
    module: str, names: Iterable[str], not_loaded: Iterable[str] = ()
) -> Callable[[str], NoReturn]:
    """A module's ``__getattr__``: raises ImportError that says which names there are.

    ``not_loaded`` are submodules that have to be imported by their own name.
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
    """Raise TypeError for keyword arguments that nobody took, with those that ``made`` takes."""
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
