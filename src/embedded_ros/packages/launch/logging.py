"""Where a launch writes: the screen, and ``launch.log`` in a folder below ``~/.ros/log``."""

from __future__ import annotations

import datetime
import logging
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

_ROOT = "embedded_launch"


class Output:
    """The one way to the screen, and to the log file of the launch that runs."""

    def __init__(self) -> None:
        self.on_screen_lost: Callable[[], None] | None = None
        self._screen_lost = False
        self.close()

    @property
    def folder(self) -> Path:
        """The folder of this launch's log; made when the first line is written."""
        if self._folder is None:
            now = datetime.datetime.now().strftime("%Y-%m-%d-%H-%M-%S-%f")
            self._folder = _log_root() / f"{now}-{socket.gethostname()}-{os.getpid()}"
        return self._folder

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

    def to_file(self, line: str) -> None:
        """Write a line to the log; a full disk ends the logging, not the launch."""
        if self._file_broken:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "launch.log").open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            self._file_broken = True
            self.to_screen(f"[WARNING] [launch]: no more log files: {error}")

    def close(self) -> None:
        """The next line belongs to another launch."""
        self._folder: Path | None = None
        self._file_broken = False


output = Output()


class _LaunchHandler(logging.Handler):
    """Writes ``[LEVEL] [name]: text`` to the screen and to launch.log."""

    def emit(self, record: logging.LogRecord) -> None:
        name = record.name.removeprefix(_ROOT + ".")
        text = f"[{record.levelname}] [{name}]: {record.getMessage()}"
        output.to_screen(text)
        output.to_file(f"{record.created:.6f} {text}")


def get_logger(name: str = "launch") -> logging.Logger:
    """A logger of the launch, by default its own."""
    root = logging.getLogger(_ROOT)
    if not root.handlers:
        root.addHandler(_LaunchHandler())
        root.propagate = False
        root.setLevel(logging.INFO)
    return root.getChild(name)


def _log_root() -> Path:
    home = os.environ.get("ROS_HOME") or "~/.ros"
    return Path(os.environ.get("ROS_LOG_DIR") or f"{home}/log").expanduser()
