"""The state of a running launch: configurations, environment, handlers, processes."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterable, MutableMapping
from pathlib import Path
from typing import Any

from launch.logging import get_logger
from launch.processes.children import Guard


class LaunchContext:
    """State of a launch, as used by actions and substitutions.

    Attributes:
        argv: arguments of the launch.
        launch_configurations: values by name.
        environment: environment variables of this process.
        launch_file: the file whose actions are being executed, if any.
        is_shutdown: whether the launch is being ended; no more processes are started then.
        tasks: the launch ends when all of these are done.
        processes: runners of the running processes.
        event_handlers: called when a process has ended, in this order.
        guard: ends the processes if the launcher dies.
    """

    def __init__(self, *, argv: Iterable[str] | None = None) -> None:
        self.argv = list(argv or [])
        self.launch_configurations: dict[str, Any] = {}
        self.environment = os.environ
        self.launch_file: Path | None = None
        self.is_shutdown = False
        self.tasks: set[asyncio.Task] = set()
        self.processes: set[Any] = set()
        self.event_handlers: list[Any] = []
        self.guard = Guard()
        self._process_count = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def perform_substitution(self, substitution: Any) -> str:
        """Return the text of a substitution."""
        return substitution.perform(self)

    def next_process_number(self) -> int:
        """Return a new number for the label of a process: 1, 2, ..."""
        self._process_count += 1
        return self._process_count

    def settings(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return copies of configurations and environment, for ``restore``."""
        return dict(self.launch_configurations), dict(self.environment)

    def restore(self, settings: tuple[dict[str, Any], dict[str, str]]) -> None:
        """Restore configurations and environment to what ``settings`` returned."""
        _replace(self.launch_configurations, settings[0])
        _replace(self.environment, settings[1])

    def shut_down(self, reason: str) -> None:
        """Stop all processes and start no more; only for the thread that runs the launch."""
        if self.is_shutdown:
            return
        self.is_shutdown = True
        get_logger().info(f"shutting down: {reason}")
        for process in tuple(self.processes):
            process.stop()

    def unused_file(self, stem: str) -> Path:
        """Return an unused path for a YAML file, in a folder that exists until the launch ends."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="launch_params_")
        folder = Path(self._folder.name)
        return folder / f"{stem}_{sum(1 for _ in folder.iterdir())}.yaml"

    def cleanup(self) -> None:
        """End remaining child processes, and remove temporary files."""
        self.guard.close()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def _replace(mapping: MutableMapping[str, Any], values: dict[str, Any]) -> None:
    for name in set(mapping) - set(values):
        del mapping[name]
    mapping.update(values)
