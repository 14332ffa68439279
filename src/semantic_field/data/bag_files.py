"""Tells rosbag2 recordings from other files."""

from __future__ import annotations

from pathlib import Path

STORAGE = (".db3", ".mcap")


def storage_name(file: Path) -> bool:
    """Whether a file's name is that of a rosbag2's storage, compressed or not."""
    return Path(file.name.removesuffix(".zstd")).suffix in STORAGE


def is_bag(path: Path) -> bool:
    """Whether that is a rosbag2: a directory of one or a storage file."""
    if path.is_dir():
        return any(map(storage_name, path.iterdir())) or (path / "metadata.yaml").exists()
    return storage_name(path)
