"""Recovery of recordings whose recorder was killed: write-ahead logs, missing metadata.

The user's files are never modified; repairs are made on copies.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

from semantic_field.data.bag_files import STORAGE, storage_name

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # no CDR message begins with it


def has_log(file: Path) -> bool:
    """Return whether a .db3 file has a write-ahead log with messages."""
    log = file.with_name(f"{file.name}-wal")
    return file.suffix == ".db3" and log.exists() and log.stat().st_size > 0


def storage_files(path: Path) -> list[Path]:
    """Return what to open: the bag itself, or its files one by one.

    The latter if metadata.yaml is missing, or if messages are in a write-ahead log.

    Raises:
        ValueError: if there are no storage files.
    """
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if storage_name(file))
    # A file that was being compressed exists in both forms.
    files = [f for f in files if f.suffix in STORAGE or f.with_suffix("") not in files]
    if (path / "metadata.yaml").exists() and not any(map(has_log, files)):
        return [path]
    if not files:
        raise ValueError("no metadata.yaml and no .db3 or .mcap file in the directory")
    return files


def whole_file(file: Path, folder: Callable[[], Path]) -> Path:
    """Return a complete, uncompressed file: itself, or a copy in the folder given by ``folder``.

    Raises:
        OSError: if there is no space for the copy.
        ValueError: if the file is damaged.
    """
    if file.suffix == ".zstd":
        return _decompressed(file, folder() / file.stem)
    return _checkpointed(file, folder() / file.name) if has_log(file) else file


def _decompressed(file: Path, copy: Path) -> Path:
    try:
        with zstd.open(file, "rb") as packed, copy.open("wb") as out:
            shutil.copyfileobj(packed, out)
    except (zstd.ZstdError, EOFError) as error:
        raise ValueError(f"{file.name} cannot be decompressed ({error})") from error
    return copy


def _checkpointed(file: Path, copy: Path) -> Path:
    """Copy a database and merge its write-ahead log into the copy."""
    shutil.copyfile(file, copy)
    shutil.copyfile(f"{file}-wal", f"{copy}-wal")
    try:
        with sqlite3.connect(copy) as connection:
            connection.execute("PRAGMA journal_mode=DELETE").fetchall()
        connection.close()
    except sqlite3.DatabaseError as error:
        raise ValueError(f"the write-ahead log of {file.name} cannot be read: {error}") from error
    return copy


def message_bytes(raw: bytes) -> bytes:
    """Return the bytes of a message, decompressed if the recorder used message compression.

    Raises:
        ValueError: if it is damaged.
    """
    if raw[:4] != ZSTD_MAGIC:
        return raw
    try:
        return zstd.decompress(raw)
    except zstd.ZstdError as error:
        raise ValueError(f"a compressed message is damaged ({error})") from error
