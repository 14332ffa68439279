"""Systems by name: where their classes are, models made from settings, and settings of models."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from semantic_field.generalizable.training.construction import constructed, plain


@dataclass(frozen=True)
class System:
    """Where a system's classes are; they are imported when they are needed.

    Attributes:
        model: class of the model, made from its settings, which it keeps as ``.config``.
        settings: frozen dataclass of its settings.
    """

    module: str
    model: str
    settings: str

    def classes(self) -> tuple[type, type]:
        """Return the model's class and the class of its settings."""
        module = importlib.import_module(self.module)
        return getattr(module, self.model), getattr(module, self.settings)


def built(systems: Mapping[str, System], config: Mapping[str, Any], *further: Any) -> Any:
    """Return a model with initial weights (from torch's random numbers).

    Args:
        config: ``system``, one of ``systems``, and its settings by name; lists become tuples.
        further: what the model's class takes after its settings.
    Raises:
        ValueError: on an unknown system or setting, or a bad value.
    """
    system: Any = config.get("system")
    if system not in systems:
        raise ValueError(f"expected model.system to be one of {', '.join(systems)}, got {system!r}")
    model, settings = systems[system].classes()
    values = {name: value for name, value in config.items() if name != "system"}
    return model(constructed(settings, values, system), *further)


def settings_in(systems: Mapping[str, System], model: Any, what: str) -> dict[str, Any]:
    """Return the settings of a model as ``built`` takes them.

    Args:
        what: the model is, for the message, such as "a prior".
    Raises:
        ValueError: if the model is of no known system.
    """
    kind = type(model)
    for name, system in systems.items():
        if (system.module, system.model) == (kind.__module__, kind.__name__):
            return {"system": name, **plain(model.config)}
    raise ValueError(f"expected {what} of {', '.join(systems)}, got {kind.__name__}")
