"""One process of a launch: started, watched, started again, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from launch._children import Guard, read_lines, start
from launch.event import Event
from launch.event_handler import EventHandler
from launch.events import ExecutionComplete, Shutdown
from launch.events.process import (
    ProcessExited,
    ProcessIO,
    ProcessStarted,
    ShutdownProcess,
    SignalProcess,
)
from launch.launch_context import LaunchContext
from launch.logging import get_logger, launch_config

_LAST_OUTPUT_S = 1.0
_NOT_STARTED = 127


@dataclass(frozen=True)
class Plan:
    """Everything there is to know before a process is started."""

    label: str
    command: list[str]
    shell: bool
    cwd: str | None
    env: dict[str, str]
    emulate_tty: bool
    routes: tuple[frozenset[str], frozenset[str]]
    output_format: str | None
    sigterm_timeout_s: float
    sigkill_timeout_s: float
    respawn: bool
    respawn_delay_s: float
    respawn_max_retries: int


class Runner:
    """Runs the process of an action until it has ended for good."""

    def __init__(self, plan: Plan, action: Any, context: LaunchContext) -> None:
        self.plan = plan
        self.details: dict[str, Any] | None = None
        self.output: tuple[list[str], list[str]] = ([], [])
        self._action = action
        self._context = context
        self._logger = get_logger(plan.label)
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._keep_output = action.cached_output
        self._handlers = [
            EventHandler(matcher=self._asks_to_stop, entities=self._on_stop),
            EventHandler(matcher=self._asks_for_signal, entities=self._on_signal),
        ]

    async def run(self) -> None:
        """Until the process has ended and is not to be started again."""
        if self._context.is_shutdown:
            return
        running: set[Runner] = self._context.resources.setdefault("running", set())
        running.add(self)
        for handler in self._handlers:
            self._context.register_event_handler(handler)
        try:
            retries = 0
            while await self._run_once() and not self._stopping.is_set():
                limit = self.plan.respawn_max_retries
                if not self.plan.respawn or 0 <= limit <= retries:
                    break
                retries += 1
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), self.plan.respawn_delay_s)
                if self._stopping.is_set():
                    break
        finally:
            for handler in self._handlers:
                self._context.unregister_event_handler(handler)
            running.discard(self)
        self._context.emit_event_sync(ExecutionComplete(action=self._action))

    def log_command(self) -> None:
        self._logger.info(f"cmd '{self._shown_command()}', cwd '{self.plan.cwd or os.getcwd()}'")

    def escalate(self) -> None:
        """Go on to the next, harder signal at once."""
        self._hurry.set()

    async def _run_once(self) -> bool:
        """One run of the process; False where it could not be started."""
        plan, context = self.plan, self._context
        guard = context.resources.get("guard") or context.resources.setdefault("guard", Guard())
        try:
            self._process, outputs = await start(
                plan.command,
                shell=plan.shell,
                cwd=plan.cwd,
                env=plan.env,
                emulate_tty=plan.emulate_tty,
            )
        except OSError as error:
            self._logger.error(f"cannot be started: {error} (cmd {self._shown_command()})")
            self._emit(ProcessExited, pid=0, returncode=_NOT_STARTED)
            return False
        process = self._process
        guard.add(process.pid)
        self._logger.info(f"process started with pid [{process.pid}]")
        self._emit(ProcessStarted, pid=process.pid)
        stopper = asyncio.create_task(self._stop(process))
        readers = [
            await read_lines(output, functools.partial(self._write, fd))
            for fd, output in enumerate(outputs, start=1)
        ]
        code = await process.wait()
        stopper.cancel()
        await asyncio.wait([lines.closed for lines in readers], timeout=_LAST_OUTPUT_S)
        guard.forget_ended()
        self._report(process.pid, code)
        self._emit(ProcessExited, pid=process.pid, returncode=code)
        return True

    # --- stopping ---

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        """Once told to: SIGINT, then SIGTERM, then SIGKILL, with time in between."""
        await self._stopping.wait()
        steps = (
            (signal.SIGINT, self.plan.sigterm_timeout_s),
            (signal.SIGTERM, self.plan.sigkill_timeout_s),
        )
        for number, patience_s in steps:
            self._hurry.clear()
            self._send(process, number)
            try:
                await asyncio.wait_for(self._hurry.wait(), patience_s)
            except asyncio.TimeoutError:
                self._logger.error(
                    f"process[{self.plan.label}] did not stop within {patience_s:g} s of "
                    f"{number.name}"
                )
        self._send(process, signal.SIGKILL)

    def _send(self, process: asyncio.subprocess.Process, number: signal.Signals) -> None:
        if process.returncode is None:
            self._logger.info(f"sending signal '{number.name}' to process[{self.plan.label}]")
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)

    def _asks_to_stop(self, event: Event) -> bool:
        if isinstance(event, ShutdownProcess):
            return event.process_matcher(self._action)
        return isinstance(event, Shutdown)

    def _on_stop(self, event: Event, context: LaunchContext) -> None:
        self._stopping.set()

    def _asks_for_signal(self, event: Event) -> bool:
        return isinstance(event, SignalProcess) and event.process_matcher(self._action)

    def _on_signal(self, event: Event, context: LaunchContext) -> None:
        assert isinstance(event, SignalProcess)
        if self._process is not None:
            self._send(self._process, event.signal)

    # --- telling ---

    def _write(self, fd: int, line: str) -> None:
        text = self._formatted(line)
        route = self.plan.routes[fd - 1]
        if "screen" in route:
            launch_config.to_screen(text)
        if "log" in route:
            launch_config.to_file("launch.log", text)
        if "own_log" in route:
            stream = "stdout" if fd == 1 else "stderr"
            launch_config.to_file(f"{self.plan.label}-{stream}.log", line)
        if self._keep_output:
            self.output[fd - 1].append(line + "\n")
        assert self._process is not None
        self._emit(ProcessIO, pid=self._process.pid, text=(line + "\n").encode(), fd=fd)

    def _formatted(self, line: str) -> str:
        if self.plan.output_format is None:
            return f"[{self.plan.label}] {line}"
        return self.plan.output_format.format(line=line, this=self._action)

    def _report(self, pid: int, code: int) -> None:
        name = f", {signal.Signals(-code).name}" if -code in set(signal.Signals) else ""
        if code == 0:
            self._logger.info(f"process has finished cleanly [pid {pid}]")
        elif self._stopping.is_set() and code in (-signal.SIGINT, 130, -signal.SIGTERM, 143):
            self._logger.info(f"process has stopped [pid {pid}, exit code {code}{name}]")
        else:
            self._logger.error(
                f"process has died [pid {pid}, exit code {code}{name}, cmd "
                f"'{self._shown_command()}']."
            )

    def _shown_command(self) -> str:
        return " ".join(self.plan.command)

    def _emit(self, kind: Callable[..., Event], pid: int, **values: Any) -> None:
        plan = self.plan
        self.details = {
            "action": self._action,
            "name": plan.label,
            "cmd": plan.command,
            "cwd": plan.cwd,
            "env": plan.env,
            "pid": pid,
        }
        event = kind(**self.details, **values)
        if kind is not ProcessIO or self._context.would_handle_event(event):
            self._context.emit_event_sync(event)
