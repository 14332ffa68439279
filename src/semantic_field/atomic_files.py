"""Atomic replacement of files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a hidden path beside ``path`` (suffix ``.tmp``) for the block to write to.

    What was written there takes the place of ``path`` when the block ends, and is removed where
    the block raises. A block that writes nothing leaves ``path`` as it was.
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
