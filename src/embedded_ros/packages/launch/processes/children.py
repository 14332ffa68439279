"""Starting processes that never outlive the launcher."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from launch.logging import get_logger
from launch.processes.guard import end_groups, group_lives

GRACE_S = 10.0
_GUARD_EXIT_S = 3.0
_LONGEST_LINE = 1 << 16
_PR_SET_PDEATHSIG = 1
# Loaded before any fork: little may be done between fork and exec.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Guard:
    """A process that ends what this launcher leaves behind, however the launcher itself ends."""

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._process: subprocess.Popen[str] | None = None
        self._lost = False

    def start(self) -> None:
        """Start it, before the first process that it is to end."""
        if self._process is None:
            script = str(Path(__file__).with_name("guard.py"))
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", script, str(GRACE_S)],
                stdin=subprocess.PIPE,
                start_new_session=True,
                text=True,
            )

    def add(self, group: int) -> None:
        self._groups.add(group)
        self._tell(f"+{group}\n")

    def forget_ended(self) -> None:
        """Drop the groups that have no processes any more."""
        for group in [group for group in self._groups if not group_lives(group)]:
            self._groups.discard(group)
            self._tell(f"-{group}\n")

    def close(self) -> None:
        """End what is left of the processes' own children, and the guard itself."""
        if self._process is None:
            return
        self.forget_ended()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(GRACE_S + _GUARD_EXIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        if self._lost:
            end_groups(self._groups, GRACE_S)

    def _tell(self, line: str) -> None:
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError:
            if not self._lost:
                get_logger().warning(
                    "the guard process is gone: if this launcher is killed, processes may be left"
                )
            self._lost = True


class Lines(asyncio.Protocol):
    """Cuts what a process writes into lines and hands them to ``sink``."""

    def __init__(self, sink: Callable[[str], None]) -> None:
        self._sink = sink
        self._rest = b""
        self.closed = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._write(line)
        if len(self._rest) > _LONGEST_LINE:
            self._write(self._rest)
            self._rest = b""

    def connection_lost(self, exc: Exception | None) -> None:
        if self._rest:
            self._write(self._rest)
        self.closed.set_result(None)

    def _write(self, line: bytes) -> None:
        self._sink(line.decode(errors="replace").rstrip("\r"))


async def start(
    command: Sequence[str], env: dict[str, str]
) -> tuple[asyncio.subprocess.Process, list[int]]:
    """Start a process as leader of its own group; it and where to read stdout and stderr.

    Raises:
        OSError: it cannot be started.
    """
    # Pipes of our own: asyncio's would count the process as running while its children write.
    pipes = [os.pipe(), os.pipe()]
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=pipes[0][1],
            stderr=pipes[1][1],
            env=env,
            start_new_session=True,
            preexec_fn=_die_with_parent(os.getpid()),
        )
    except BaseException:
        for reading, _ in pipes:
            os.close(reading)
        raise
    finally:
        for _, writing in pipes:
            os.close(writing)
    return process, [reading for reading, _ in pipes]


async def read_lines(descriptor: int, sink: Callable[[str], None]) -> Lines:
    """Hand every line that comes to ``sink``; the result's ``closed`` is done at the end."""
    pipe = os.fdopen(descriptor, "rb", buffering=0)
    loop = asyncio.get_running_loop()
    _, lines = await loop.connect_read_pipe(lambda: Lines(sink), pipe)
    return lines


def _die_with_parent(parent: int) -> Callable[[], None] | None:
    """What the child does before it becomes the program: ask for SIGTERM at the parent's death."""
    if _LIBC is None:
        return None
    libc = _LIBC

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:
            os._exit(1)

    return prepare
