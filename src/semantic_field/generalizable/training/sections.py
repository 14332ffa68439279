"""Settings of a training in sections, as YAML files give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from semantic_field.settings import Settings, flattened, updated

T = TypeVar("T")


def read_sections(
    path: str | Path, names: Sequence[str], parse: Callable[[Mapping[str, Any]], T]
) -> T:
    """Return what ``parse`` makes of a YAML file's mapping.

    Args:
        names: of the sections, for the message.
    Raises:
        ValueError: if the file is no mapping, or as ``parse``, with the path.
    """
    content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"expected a YAML mapping with {', '.join(names)} in {path}")
    try:
        return parse(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def sections_of(content: Mapping[str, Any], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return all sections of a mapping; one that is not there is empty.

    Raises:
        ValueError: on an unknown section, or one that is no mapping.
    """
    unknown = sorted(set(content) - set(names))
    if unknown:
        raise ValueError(f"expected sections {', '.join(names)}, got {', '.join(unknown)}")
    sections = {name: content.get(name) or {} for name in names}
    for name, values in sections.items():
        if not isinstance(values, dict):
            raise ValueError(f"expected {name} to be a mapping, got {values!r}")
    return sections


def section(name: str, defaults: Settings, values: dict[str, Any]) -> Any:
    """Return ``defaults`` with the values of a section; raises ValueError with its name."""
    try:
        return updated(defaults, dict(flattened(values)))
    except ValueError as error:
        raise ValueError(f"in {name}: {error}") from error


def overridden(settings: Settings, values: Mapping[str, Any]) -> Any:
    """Return settings with what a command line gives; None = as they are."""
    return updated(settings, {name: value for name, value in values.items() if value is not None})
