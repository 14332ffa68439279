"""What an evaluation leaves behind when something fails after the work of mapping."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from semantic_field.mapping import Mapper

MAP_NAME = "map.safetensors"
REPORT_NAME = "unfinished.json"


def writable_folder(path: Path) -> Path:
    """The folder, made where it is missing; OSError where nothing can be written there."""
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path) as file:
        file.write(b"there is room")
    return path


@contextmanager
def kept_on_failure(folder: Path | None, mapper: Mapper, report: dict[str, Any]) -> Iterator[None]:
    """Write the map and what is known of the run to the folder where the block fails.

    Raises:
        RuntimeError: in place of what the block raised, with the names of these files.
    """
    try:
        yield
    except Exception as error:
        if folder is None:
            raise
        reason = f"{type(error).__name__}: {error}"
        mapper.save(folder / MAP_NAME)
        text = json.dumps(report | {"unfinished": reason}, indent=1, default=str)
        (folder / REPORT_NAME).write_text(text + "\n", encoding="utf-8")
        raise RuntimeError(
            f"mapped, but not scored: {reason}; the map is in {folder / MAP_NAME}, what is known "
            f"of the run in {folder / REPORT_NAME}"
        ) from error
