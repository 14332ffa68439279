"""Ends the processes of a launch when the launcher can no longer do so.

Runs as a process of its own: ``python guard.py GRACE_S``. The launcher writes ``+PGID`` for every
process group it starts and ``-PGID`` for every group that is gone. The end of the input means that
the launcher is gone too, killed perhaps: what is left is asked to end (SIGTERM), and killed after
GRACE_S seconds.
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
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    end_groups(watched_groups(), float(sys.argv[1]))


def watched_groups() -> set[int]:
    """Follow what the launcher writes until it is gone; the groups it has left."""
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
            # The number of a group that has ended may be given to somebody else's.
            groups &= set(living(groups))


def end_groups(groups: set[int], grace_s: float) -> None:
    """End every process of the groups: the leaders first, what they leave behind, then by force.

    On Linux the kernel has sent SIGTERM to the leaders already; a second one could hit them while
    they save what they have.
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
    """The groups that have processes which have not ended (a zombie has), with the ids of these.

    Without /proc, the leader's id at most.
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
    """State and process group of a process, as /proc has them; ("?", 0) where it has not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read().decode(errors="replace")
    except OSError:
        return "?", 0
    # The name before the bracket may hold anything.
    state, _, group = text.rpartition(")")[2].split()[:3]
    return state, int(group)


def _send(send: Callable[[int, int], None], target: int, number: int) -> bool:
    """Send a signal, 0 to ask only; whether there is somebody to get it."""
    try:
        send(target, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


if __name__ == "__main__":
    main()
