"""Ends the processes of a launch when the launcher can no longer do so.

Runs as a process of its own: ``python _guard.py GRACE_S``. The launcher writes ``+PGID`` for every
process group it starts and ``-PGID`` for every group that is gone. The end of the input means that
the launcher is gone too, killed perhaps: what is left gets SIGTERM, after GRACE_S seconds SIGKILL.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    groups = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    end_groups(groups, float(sys.argv[1]))


def end_groups(groups: set[int], grace_s: float) -> None:
    """SIGTERM to every process of the groups; to those still there after a while SIGKILL."""
    deadline = time.monotonic() + grace_s
    left = {group for group in groups if group_lives(group)}
    for group in left:
        _signal(group, signal.SIGTERM)
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = {group for group in left if group_lives(group)}
    for group in left:
        _signal(group, signal.SIGKILL)


def group_lives(group: int) -> bool:
    """Whether a process of the group is there that has not ended (a zombie has)."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    states = _states(group)
    return states is None or any(state not in "ZX" for state in states)


def _states(group: int) -> list[str] | None:
    """The states of the group's processes, as /proc names them; None where there is no /proc."""
    if not os.path.exists("/proc/self/stat"):
        return None
    states = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            # The process may end while it is being looked at.
            with (
                contextlib.suppress(OSError),
                open(f"/proc/{entry}/stat", errors="replace") as file,
            ):
                state, _, pgrp = file.read().rpartition(")")[2].split()[:3]
                if int(pgrp) == group:
                    states.append(state)
    return states


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    main()
