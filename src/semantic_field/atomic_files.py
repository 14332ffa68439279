"""Atomic replacement of files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Context manager that yields a hidden temporary path (suffix ``.tmp``) to write to.

    The file written there replaces ``path`` when the block ends; if the block raises an error, it
    is deleted. If the block writes nothing, ``path`` is unchanged.
    """
    path = Path(path)
    hidden = path.with_name(f".{path.name}.tmp")
    try:
        yield hidden
        if hidden.exists():
            os.replace(hidden, path)
    finally:
        hidden.unlink(missing_ok=True)


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file atomically; on failure the old file stays and no temporary file is left."""
    with replacing(path) as hidden:
        hidden.write_bytes(data)
