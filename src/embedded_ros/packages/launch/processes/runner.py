"""Runs one process of a launch: starts it, copies its output, stops it, reports its end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import signal
from dataclasses import dataclass

from launch.entities import Action, visit
from launch.event_handlers import ProcessExited
from launch.launch_context import LaunchContext
from launch.logging import get_logger, output
from launch.processes.children import copy_lines, start

_LAST_OUTPUT_S = 1.0
_NOT_STARTED = 127
_ASKED_TO_END = (-signal.SIGINT, 128 + signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGTERM)


@dataclass(eq=False)
class Runner:
    """Runs the process of an action until it has ended.

    Attributes:
        action: the action. context: state of the launch.
        label: name of the process in the output.
        command: program and arguments. env: environment variables.
        routes: destinations of stdout and of stderr: "screen", "log" (launch.log), or both.
        patience_s: seconds to wait after SIGINT, and after SIGTERM.
    """

    action: Action
    context: LaunchContext
    label: str
    command: list[str]
    env: dict[str, str]
    routes: tuple[tuple[str, ...], tuple[str, ...]]
    patience_s: tuple[float, float]

    def __post_init__(self) -> None:
        self._logger = get_logger(self.label)
        self._shown_command = " ".join(self.command)
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Run the process, unless the launch is being ended, and then call the event handlers."""
        if self.context.is_shutdown:
            return
        self.context.processes.add(self)
        try:
            pid, code = await self._run()
        finally:
            self.context.processes.discard(self)
        event = ProcessExited(self.action, self.label, self.command, pid, code)
        handlers = tuple(self.context.event_handlers)
        # All handlers are called before the entities of one of them may end the launch.
        brought = [handler.handle(event, self.context) for handler in handlers]
        for entity in itertools.chain.from_iterable(brought):
            visit(entity, self.context)

    def stop(self) -> None:
        """Stop the process: SIGINT now, then SIGTERM and SIGKILL if it does not end in time."""
        self._stopping.set()

    def escalate(self) -> None:
        """Send the next signal of ``stop`` without further waiting."""
        self._hurry.set()

    async def _run(self) -> tuple[int, int]:
        """Run the process; returns its id and exit code, 0 and 127 if it cannot be started."""
        guard = self.context.guard
        guard.start()
        try:
            process, outputs = await start(self.command, self.env)
        except OSError as error:
            self._logger.error(f"cannot be started: {error} (cmd {self._shown_command})")
            return 0, _NOT_STARTED
        guard.add(process.pid)
        self._logger.info(f"process started with pid [{process.pid}]")
        stopper = asyncio.create_task(self._stop(process))
        readers = [
            asyncio.create_task(copy_lines(descriptor, functools.partial(self._write, route)))
            for descriptor, route in zip(outputs, self.routes)
        ]
        code = await process.wait()
        stopper.cancel()
        await asyncio.wait(readers, timeout=_LAST_OUTPUT_S)
        guard.forget_ended()
        self._report(process.pid, code)
        return process.pid, code

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        """Wait for ``stop``, then send SIGINT, SIGTERM and SIGKILL with pauses in between."""
        await self._stopping.wait()
        for number, patience_s in zip((signal.SIGINT, signal.SIGTERM), self.patience_s):
            self._hurry.clear()
            self._send(process, number)
            try:
                await asyncio.wait_for(self._hurry.wait(), patience_s)
            except asyncio.TimeoutError:
                self._logger.error(
                    f"process[{self.label}] did not stop within {patience_s:g} s of {number.name}"
                )
        self._send(process, signal.SIGKILL)

    def _send(self, process: asyncio.subprocess.Process, number: signal.Signals) -> None:
        if process.returncode is None:
            self._logger.info(f"sending signal '{number.name}' to process[{self.label}]")
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)

    def _write(self, route: tuple[str, ...], line: str) -> None:
        text = f"[{self.label}] {line}"
        if "screen" in route:
            output.to_screen(text)
        if "log" in route:
            output.to_file(text)

    def _report(self, pid: int, code: int) -> None:
        name = f", {signal.Signals(-code).name}" if -code in set(signal.Signals) else ""
        if code == 0:
            self._logger.info(f"process has finished cleanly [pid {pid}]")
        elif self._stopping.is_set() and code in _ASKED_TO_END:
            self._logger.info(f"process has stopped [pid {pid}, exit code {code}{name}]")
        else:
            self._logger.error(
                f"process has died [pid {pid}, exit code {code}{name}, cmd "
                f"'{self._shown_command}']."
            )
