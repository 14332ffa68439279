"""Where a launch writes: the screen, and log files below ``~/.ros/log``."""

from __future__ import annotations

import datetime
import logging
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

_ROOT = "embedded_launch"


class LaunchConfig:
    """Folder and level of the logs, and the one way to the screen."""

    def __init__(self) -> None:
        self.level = logging.INFO
        self.on_screen_lost: Callable[[], None] | None = None
        self._folder: Path | None = None
        self._files: dict[str, IO[str]] = {}
        self._broken = False
        self._screen_lost = False

    @property
    def log_dir(self) -> str:
        """The folder of this launch's log files; made when the first line is written."""
        if self._folder is None:
            now = datetime.datetime.now().strftime("%Y-%m-%d-%H-%M-%S-%f")
            self._folder = _log_root() / f"{now}-{socket.gethostname()}-{os.getpid()}"
        return str(self._folder)

    @log_dir.setter
    def log_dir(self, folder: str) -> None:
        self.close()
        self._folder = Path(folder)
        self._broken = False

    def to_screen(self, line: str) -> None:
        """Write a line; a screen that has gone away ends the launch, once."""
        if self._screen_lost:
            return
        try:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        except OSError:
            self._screen_lost = True
            if self.on_screen_lost is not None:
                self.on_screen_lost()

    def to_file(self, name: str, line: str) -> None:
        """Write a line to a log file; a full disk ends the logging, not the launch."""
        if self._broken:
            return
        try:
            if name not in self._files:
                Path(self.log_dir).mkdir(parents=True, exist_ok=True)
                path = Path(self.log_dir) / name
                self._files[name] = path.open("a", encoding="utf-8")
            self._files[name].write(line + "\n")
            self._files[name].flush()
        except OSError as error:
            self._broken = True
            self.to_screen(f"[WARNING] [launch]: no more log files: {error}")

    def close(self) -> None:
        """Close the log files."""
        for name in list(self._files):
            try:
                self._files.pop(name).close()
            except OSError as error:
                self.to_screen(f"[WARNING] [launch]: log file {name}: {error}")


launch_config = LaunchConfig()


class _LaunchHandler(logging.Handler):
    """Writes ``[LEVEL] [name]: text`` to the screen and to launch.log."""

    def emit(self, record: logging.LogRecord) -> None:
        name = record.name.removeprefix(_ROOT + ".")
        text = f"[{record.levelname}] [{name}]: {record.getMessage()}"
        launch_config.to_screen(text)
        launch_config.to_file("launch.log", f"{record.created:.6f} {text}")


def get_logger(name: str | None = None) -> logging.Logger:
    """A logger of the launch, by default its own."""
    root = logging.getLogger(_ROOT)
    if not root.handlers:
        root.addHandler(_LaunchHandler())
        root.propagate = False
        root.setLevel(launch_config.level)
    return root.getChild(name or "launch")


def _log_root() -> Path:
    if os.environ.get("ROS_LOG_DIR"):
        return Path(os.environ["ROS_LOG_DIR"]).expanduser()
    home = os.environ.get("ROS_HOME") or os.path.join("~", ".ros")
    return Path(home).expanduser() / "log"
