"""Where a map is kept when nobody names a place."""

from __future__ import annotations

import os
from pathlib import Path

MAP_NAME = "map.safetensors"


def resolve(path: str) -> Path:
    """The named file, or ``$ROS_HOME/semantic_field/map.safetensors`` (ROS_HOME: ``~/.ros``)."""
    if path:
        return Path(path).expanduser().absolute()
    home = Path(os.environ.get("ROS_HOME") or "~/.ros").expanduser()
    return home / "semantic_field" / MAP_NAME


def make_room(path: Path) -> None:
    """Make the folder, and keep a map that is there already as ``previous.safetensors``.

    Only for the place that nobody named: a named file is meant to be replaced.
    Raises OSError where the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.replace(path.with_name("previous.safetensors"))
