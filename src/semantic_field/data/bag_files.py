"""Tells rosbag2 recordings from other files."""

from __future__ import annotations

from pathlib import Path

BAG_SUFFIXES = (".db3", ".mcap")


def is_bag(path: Path) -> bool:
    """Whether that is a rosbag2: a directory of one or a storage file."""
    if path.is_dir():
        holds_storage = any(file.suffix in BAG_SUFFIXES for file in path.iterdir())
        return holds_storage or (path / "metadata.yaml").exists()
    return path.suffix in BAG_SUFFIXES
