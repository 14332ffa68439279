"""What can happen to a process, and what can be asked of it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from launch.event import Event

ProcessMatcher = Callable[[Any], bool]


class RunningProcessEvent(Event):
    """Something about one run of a process. ``process_name`` is its label in the output."""

    def __init__(
        self,
        *,
        action: Any,
        name: str,
        cmd: Sequence[str],
        cwd: str | None,
        env: Mapping[str, str] | None,
        pid: int,
    ) -> None:
        self.action = action
        self.execute_process_action = action
        self.process_name = name
        self.cmd = list(cmd)
        self.cwd = cwd
        self.env = env
        self.pid = pid


class ProcessStarted(RunningProcessEvent):
    """It was started."""

    name = "launch.events.process.ProcessStarted"


class ProcessExited(RunningProcessEvent):
    """It has ended. ``returncode`` is negative where a signal ended it."""

    name = "launch.events.process.ProcessExited"

    def __init__(self, *, returncode: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.returncode = returncode


class ProcessIO(RunningProcessEvent):
    """It wrote ``text`` (bytes) to stdout (``fd`` 1) or stderr (2)."""

    name = "launch.events.process.ProcessIO"

    def __init__(self, *, text: bytes, fd: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.text = text
        self.fd = fd

    @property
    def from_stdout(self) -> bool:
        return self.fd == 1

    @property
    def from_stderr(self) -> bool:
        return self.fd == 2

    @property
    def from_stdin(self) -> bool:
        return self.fd == 0


class ProcessTargetedEvent(Event):
    """Asks something of the processes that the matcher holds for."""

    def __init__(self, *, process_matcher: ProcessMatcher) -> None:
        self.process_matcher = process_matcher


class ShutdownProcess(ProcessTargetedEvent):
    """Stop: SIGINT, after a while SIGTERM, then SIGKILL."""

    name = "launch.events.process.ShutdownProcess"


class SignalProcess(ProcessTargetedEvent):
    """Send a signal, given by number or name."""

    name = "launch.events.process.SignalProcess"

    def __init__(self, *, signal_number: int | str, process_matcher: ProcessMatcher) -> None:
        super().__init__(process_matcher=process_matcher)
        if isinstance(signal_number, str):
            self.signal = signal.Signals[signal_number]
        else:
            self.signal = signal.Signals(signal_number)

    @property
    def signal_name(self) -> str:
        return self.signal.name


def matches_action(target_action: Any) -> ProcessMatcher:
    """Holds for this very action."""
    return lambda action: action is target_action


def matches_pid(pid: int) -> ProcessMatcher:
    """Holds for the process with this id."""
    return lambda action: (action.process_details or {}).get("pid") == pid


def matches_name(name: str) -> ProcessMatcher:
    """Holds for the process with this label, e.g. ``mapping_node-1``."""
    return lambda action: (action.process_details or {}).get("name") == name


def matches_executable(executable: str) -> ProcessMatcher:
    """Holds for processes of this executable."""
    return lambda action: (action.process_details or {}).get("cmd", [""])[0] == executable
