"""Recognises rosbag2 recordings by their file names."""

from __future__ import annotations

from pathlib import Path

STORAGE = (".db3", ".mcap")


def storage_name(file: Path) -> bool:
    """Return whether a file name is that of rosbag2 storage, compressed or not."""
    return Path(file.name.removesuffix(".zstd")).suffix in STORAGE


def is_bag(path: Path) -> bool:
    """Return whether a path is a rosbag2 directory or storage file."""
    if path.is_dir():
        return any(map(storage_name, path.iterdir())) or (path / "metadata.yaml").exists()
    return storage_name(path)
