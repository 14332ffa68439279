"""Keeps the map on disk: every few minutes, at shutdown, and where nobody names a place."""

from __future__ import annotations

import os
import tempfile
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
        self._steps = mapper.steps
        self._may_replace = bool(config.map_path)
        self._lock = threading.Lock()
        self._group, self._timer = group, None
        self._set_timer()

    def save(self) -> bool:
        """Write the map, unless nothing was learnt since; whether it is where it should be."""
        with self._lock:
            steps = self._mapper.steps
            if steps == self._steps:
                return True
            if not self._written(self._path):
                return False
            self._steps = steps
            return True

    def set_aside(self) -> None:
        """Keep the present map under another name: a new one is about to take its place."""
        with self._lock:
            if self._mapper.steps:
                self._written(self._path.with_name(f"before_{self._path.name}"))
            self._steps = 0

    def _written(self, path: Path) -> bool:
        """Whether the map could be written there; the log says so."""
        logger = self._node.get_logger()
        try:
            if path == self._path:
                self._make_room()
            path.parent.mkdir(parents=True, exist_ok=True)
            self._mapper.save(path)
        except OSError as error:
            logger.error(f"the map was not saved to {path}: {error}")
            return False
        logger.info(f"map saved to {path}")
        return True

    def follow(self, config: MappingNodeConfig) -> None:
        """Use other settings from now on."""
        if config.map_path != self._config.map_path:
            self._path, self._may_replace = resolve(config.map_path), bool(config.map_path)
        again = config.autosave_period_s != self._config.autosave_period_s
        self._config = config
        if again:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        self._timer = None
        if self._config.autosave_period_s > 0:
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self._timer = self._node.create_timer(
                self._config.autosave_period_s, self.save, callback_group=self._group, clock=steady
            )

    def _make_room(self) -> None:
        if not self._may_replace and self._path.exists():
            self._path.replace(self._path.with_name("previous.safetensors"))
        self._may_replace = True

    def close(self) -> bool:
        """Save for the last time, where that is wanted; whether all is where it should be.

        Where the map's own place cannot be written to, one of the fallback places may do. May be
        called again.
        """
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None
        if not self._config.save_map_at_shutdown or self.save():
            return True
        name = f"{self._path.stem}.{os.getpid()}{self._path.suffix}"
        for folder in (resolve("").parent, Path(tempfile.gettempdir())):
            if self._written(folder / name):
                return False
        self._node.get_logger().fatal("the map is lost: there is no place that it can be saved to")
        return False
