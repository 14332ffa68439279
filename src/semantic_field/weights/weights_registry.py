"""The registry of weights: entries of ``registry.yaml``, by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

PACKAGE = Path(__file__).resolve().parents[1]
ROLES = ("segmenter", "open_clip", "regions", "patches", "model")
LANGUAGE_ROLES = ("segmenter", "open_clip")  # what alone lets a map answer questions


@dataclass(frozen=True)
class WeightsEntry:
    """One entry; ``registry.yaml`` explains the attributes.

    Attributes:
        files: for each file its names, of which the first that exists is taken.
        sha256: hash of a file by its name, where it could be verified.
    """

    name: str
    role: str
    purpose: str
    licence: str
    megabytes: int
    repository: str = ""
    revision: str = "main"
    files: tuple[tuple[str, ...], ...] = ()
    sha256: dict[str, str] = field(default_factory=dict)
    shipped: str = ""

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"expected role of {self.name} to be one of {ROLES}, got {self.role}")
        if bool(self.shipped) == bool(self.repository and self.files):
            raise ValueError(
                f"expected {self.name} to have either a repository with files or a shipped file"
            )

    @property
    def command(self) -> str:
        """The command that downloads it."""
        return f"semantic-field weights get {self.name}"


@cache
def known_weights() -> dict[str, WeightsEntry]:
    """Return all entries by name, in the order of the file."""
    content = yaml.safe_load((Path(__file__).parent / "registry.yaml").read_text(encoding="utf-8"))
    return {name: _entry(name, about) for name, about in content.items()}


def named_weights(name: str) -> WeightsEntry:
    """Return an entry; ValueError with the known names if there is none."""
    known = known_weights()
    if name not in known:
        raise ValueError(f"expected the name of weights ({', '.join(known)}), got {name!r}")
    return known[name]


def names_with_role(*roles: str) -> tuple[str, ...]:
    """Return the names of all entries with one of these roles, smallest weights first."""
    found = [entry for entry in known_weights().values() if entry.role in roles]
    return tuple(entry.name for entry in sorted(found, key=lambda e: e.megabytes))


def _entry(name: str, about: dict) -> WeightsEntry:
    files = [[file] if isinstance(file, str) else file for file in about.pop("files", [])]
    return WeightsEntry(name=name, files=tuple(map(tuple, files)), **about)
