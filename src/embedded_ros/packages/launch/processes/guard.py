"""Ends the processes of a launch after the launcher has died.

Runs as a separate process: ``python guard.py GRACE_S``. The launcher writes ``+PGID`` to its input
for every process group it starts, and ``-PGID`` for every group that has ended. The end of the
input means that the launcher has ended, or was killed: the remaining processes get SIGTERM, and
SIGKILL after GRACE_S seconds.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable

_FORGET_S = 5.0


def main() -> None:
    """Watch process groups until the launcher has ended, then end them."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    end_groups(watched_groups(), float(sys.argv[1]))


def watched_groups() -> set[int]:
    """Read the launcher's messages until it has ended; returns the remaining process groups."""
    groups: set[int] = set()
    rest = b""
    while True:
        if select.select([0], [], [], _FORGET_S)[0]:
            data = os.read(0, 4096)
            if not data:
                return groups
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                (groups.add if line[:1] == b"+" else groups.discard)(int(line[1:]))
        else:
            # The number of a group that has ended may be reused for an unrelated one.
            groups &= set(living(groups))


def end_groups(groups: set[int], grace_s: float) -> None:
    """End all processes of the groups, within about ``grace_s`` seconds.

    The leaders get SIGTERM first, then the other processes of groups whose leader has ended, and
    finally all remaining ones SIGKILL. On Linux the kernel has already sent SIGTERM to the leaders;
    a second one could interrupt them while they save data.
    """
    deadline = time.monotonic() + grace_s
    left = living(groups)
    if sys.platform != "linux":
        for leader in left:
            _send(os.kill, leader, signal.SIGTERM)
    asked = set()
    while left and time.monotonic() < deadline:
        for group in set(left) - asked:
            if group not in left[group]:
                asked.add(group)
                _send(os.killpg, group, signal.SIGTERM)
        time.sleep(0.05)
        left = living(groups)
    for group in left:
        _send(os.killpg, group, signal.SIGKILL)


def living(groups: set[int]) -> dict[int, set[int]]:
    """Return the groups with running processes, and the ids of these; zombies do not count.

    On systems without /proc, the ids are at most those of the leaders.
    """
    there = {group for group in groups if _send(os.killpg, group, 0)}
    if not os.path.exists("/proc/self/stat"):
        return {group: {group} if _send(os.kill, group, 0) else set() for group in there}
    found: dict[int, set[int]] = {}
    for pid in map(int, filter(str.isdigit, os.listdir("/proc") if there else ())):
        state, group = _state_and_group(pid)
        if group in there and state not in ("Z", "X"):
            found.setdefault(group, set()).add(pid)
    return found


def _state_and_group(pid: int) -> tuple[str, int]:
    """Return state and process group of a process from /proc; ("?", 0) if it does not exist."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read().decode(errors="replace")
    except OSError:
        return "?", 0
    # The process name before the bracket may contain any characters.
    state, _, group = text.rpartition(")")[2].split()[:3]
    return state, int(group)


def _send(send: Callable[[int, int], None], target: int, number: int) -> bool:
    """Send a signal, or 0 only to check; returns whether the target exists."""
    try:
        send(target, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


if __name__ == "__main__":
    main()
