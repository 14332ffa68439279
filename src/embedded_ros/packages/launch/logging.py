"""Output of a launch to the screen, and to ``launch.log`` in a folder below ``~/.ros/log``."""

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
    """Writes to the screen and to the log file of the current launch.

    Attributes:
        on_screen_lost: called once when the screen cannot be written to any more.
    """

    def __init__(self) -> None:
        self.on_screen_lost: Callable[[], None] | None = None
        self._screen_lost = False
        self.close()

    @property
    def folder(self) -> Path:
        """Folder of this launch's log; created when the first line is written."""
        if self._folder is None:
            now = datetime.datetime.now().strftime("%Y-%m-%d-%H-%M-%S-%f")
            self._folder = _log_root() / f"{now}-{socket.gethostname()}-{os.getpid()}"
        return self._folder

    def to_screen(self, line: str) -> None:
        """Write a line to the screen; on the first failure calls ``on_screen_lost``."""
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
        """Write a line to the log file; after a failure no more lines are written to it."""
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
        """End the log of this launch; the next line begins another one."""
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
    """Return a logger that writes to the output of the launch, by default the launch's own."""
    root = logging.getLogger(_ROOT)
    if not root.handlers:
        root.addHandler(_LaunchHandler())
        root.propagate = False
        root.setLevel(logging.INFO)
    return root.getChild(name)


def _log_root() -> Path:
    home = os.environ.get("ROS_HOME") or "~/.ros"
    return Path(os.environ.get("ROS_LOG_DIR") or f"{home}/log").expanduser()
