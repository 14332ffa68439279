"""Atomic replacement of files."""

from __future__ import annotations

import os
import shutil
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


def check_space(path: str | Path, size: int) -> None:
    """Raise an OSError if the disk of a file to be written has less than ``size`` bytes free."""
    free = shutil.disk_usage(Path(path).parent).free
    if size > free:
        raise OSError(
            f"expected {size / 1e6:.0f} MB of free space for {path}, got {free / 1e6:.0f} MB; "
            "delete something there, or write to another disk"
        )
