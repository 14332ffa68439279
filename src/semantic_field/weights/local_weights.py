"""Where weights lie on this machine.

Downloaded weights have a folder each, with a record of what was downloaded: only a folder with a
record is complete. Nothing here uses the network.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from semantic_field.atomic_files import write_atomically
from semantic_field.weights.weights_registry import (
    PACKAGE,
    WeightsEntry,
    known_weights,
    names_with_role,
)

RECORD = "downloaded.json"
FOLDER_VARIABLE = "SEMANTIC_FIELD_WEIGHTS"


def weights_folder() -> Path:
    """Return ``$SEMANTIC_FIELD_WEIGHTS``, by default ``semantic_field/weights`` in the cache.

    The cache is ``$XDG_CACHE_HOME``, by default ``~/.cache``.
    """
    given = os.environ.get(FOLDER_VARIABLE)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given).expanduser() if given else Path(base) / "semantic_field" / "weights"


def folder_of(entry: WeightsEntry) -> Path:
    """Return the folder of downloaded weights; the file of shipped ones."""
    return PACKAGE / entry.shipped if entry.shipped else weights_folder() / entry.name


def is_here(entry: WeightsEntry) -> bool:
    """Return whether all files are on this machine, with the sizes that were downloaded."""
    folder = folder_of(entry)
    if entry.shipped:
        return folder.is_file()
    files = record_of(entry).get("files", {})
    return bool(files) and all(
        (folder / name).is_file() and (folder / name).stat().st_size == about["bytes"]
        for name, about in files.items()
    )


def record_of(entry: WeightsEntry) -> dict:
    """Return what was downloaded: "revision" and "files" (bytes and sha256 by name); {} = none."""
    try:
        record = json.loads((folder_of(entry) / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none, or not written completely
        return {}
    return record if isinstance(record, dict) else {}


def write_record(entry: WeightsEntry, revision: str, files: dict[str, dict]) -> None:
    """Note that all files have been downloaded and checked."""
    record = {"repository": entry.repository, "revision": revision, "licence": entry.licence}
    content = json.dumps(record | {"files": files}, indent=1) + "\n"
    write_atomically(folder_of(entry) / RECORD, content.encode())


def local_path(given: str, option: str) -> str:
    """Return the folder of weights if a setting names an entry of the registry, else ``given``.

    A file or folder of that name in the working directory has to be written with ``./``.

    Args:
        given: value of the setting ``option``.
    Raises:
        ValueError: with the command, if the named weights are not on this machine.
    """
    entry = known_weights().get(given)
    if entry is None:
        return given
    if not is_here(entry):
        raise ValueError(
            f"expected the weights {given!r} of {option} in {folder_of(entry)}, got none; get "
            f"them with: {entry.command}"
        )
    return str(folder_of(entry))


def weights_here(role: str) -> str:
    """Return the name of the smallest weights with this role on this machine, "" = none."""
    known = known_weights()
    return next((name for name in names_with_role(role) if is_here(known[name])), "")


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def git_sha1_of(file: Path) -> str:
    """Return git's SHA-1 of a file's content, in hexadecimal digits."""
    content = file.read_bytes()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
