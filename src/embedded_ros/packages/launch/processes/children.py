"""Starting of processes that never outlive the launcher, and reading of their output."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from launch.logging import get_logger
from launch.processes.guard import end_groups, living

GRACE_S = 10.0
_LONGEST_LINE = 1 << 16
_PR_SET_PDEATHSIG = 1
# Loaded before any fork, as few operations are safe between fork and exec.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Guard:
    """A separate process that ends the processes of this launcher, even if the launcher is killed.

    Attributes:
        process: the guard process; None before ``start``.
    """

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self.process: subprocess.Popen[bytes] | None = None
        self._lost = False

    def start(self) -> None:
        """Start the guard process, if not yet done; call it before the first ``add``."""
        if self.process is None:
            script = str(Path(__file__).with_name("guard.py"))
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", script, str(GRACE_S)],
                stdin=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )

    def add(self, group: int) -> None:
        """Add a process group that has to be ended with the launcher."""
        self._groups.add(group)
        self._tell(b"+%d\n" % group)

    def forget_ended(self) -> None:
        """Remove the groups that have no more processes."""
        for group in self._groups - set(living(self._groups)):
            self._groups.discard(group)
            self._tell(b"-%d\n" % group)

    def close(self) -> None:
        """End all remaining processes of the groups, and the guard process."""
        end_groups(self._groups, GRACE_S)
        if self.process is not None:
            with self.process:
                self.process.kill()

    def _tell(self, line: bytes) -> None:
        try:
            self.process.stdin.write(line)
        except BrokenPipeError:
            if not self._lost:
                get_logger().warning(
                    "the guard process is gone: if this launcher is killed, processes may be left"
                )
            self._lost = True


async def start(
    command: Sequence[str], env: dict[str, str]
) -> tuple[asyncio.subprocess.Process, list[int]]:
    """Start a process as the leader of a new process group.

    Returns:
        the process, and the file descriptors from which to read its stdout and stderr.
    Raises:
        OSError: if it cannot be started.
    """
    # Not asyncio's pipes: with these, some versions of Python treat a process as running as long
    # as a child of it keeps its output open.
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


async def copy_lines(descriptor: int, sink: Callable[[str], None]) -> None:
    """Read from a file descriptor, and pass each line to ``sink`` until the other end is closed."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    rest = b""
    while data := await reader.read(_LONGEST_LINE):
        *lines, rest = (rest + data).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines, rest = [*lines, rest], b""
        for line in lines:
            sink(line.decode(errors="replace").rstrip("\r"))
    if rest:
        sink(rest.decode(errors="replace"))


def _die_with_parent(parent: int) -> Callable[[], None] | None:
    """Return a function for the child to call before exec: it requests SIGTERM if the parent dies.

    None if the system is not Linux.
    """
    if _LIBC is None:
        return None
    libc = _LIBC

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:
            os._exit(1)

    return prepare
