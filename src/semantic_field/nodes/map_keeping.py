"""Keeps the map on disk: every few minutes, at shutdown, and where nobody names a place."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from semantic_field.config import MappingNodeConfig
from semantic_field.mapping.mapper import Mapper


def resolve(path: str) -> Path:
    """The named file, or ``$ROS_HOME/semantic_field/map.safetensors`` (ROS_HOME: ``~/.ros``)."""
    if path:
        return Path(path).expanduser().absolute()
    home = Path(os.environ.get("ROS_HOME") or "~/.ros").expanduser()
    return home / "semantic_field" / "map.safetensors"


class MapKeeper:
    """Saves the map of a node when it has changed; a failure is logged and tried again later.

    Where no place was named, the map of an earlier run is kept as ``previous.safetensors``.
    """

    def __init__(
        self, node: Node, mapper: Mapper, config: MappingNodeConfig, group: CallbackGroup
    ) -> None:
        self._node, self._mapper, self._config = node, mapper, config
        self._path = resolve(config.map_path)
        self._steps = mapper.status().steps
        self._may_replace = bool(config.map_path)
        self._lock = threading.Lock()
        self._timer = None
        if config.autosave_period_s > 0:
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._timer = node.create_timer(
                config.autosave_period_s, self.save, callback_group=group, clock=steady
            )

    def save(self) -> None:
        """Write the map, unless nothing was learnt since."""
        with self._lock:
            steps = self._mapper.status().steps
            if steps == self._steps:
                return
            try:
                self._make_room()
                self._mapper.save(self._path)
            except OSError as error:
                self._node.get_logger().error(f"the map was not saved to {self._path}: {error}")
                return
            self._steps = steps
        self._node.get_logger().info(f"map saved to {self._path}")

    def set_aside(self) -> None:
        """Keep the present map under another name: a new one is about to take its place."""
        with self._lock:
            if self._mapper.status().steps:
                path = self._path.with_name(f"{self._path.stem}.before{self._path.suffix}")
                self._write(path)
            self._steps = 0

    def _make_room(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not self._may_replace and self._path.exists():
            self._path.replace(self._path.with_name("previous.safetensors"))
        self._may_replace = True

    def close(self) -> None:
        """Save for the last time, where that is wanted."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        if self._config.save_map_at_shutdown:
            self.save()
