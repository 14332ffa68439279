"""Pairs images of a recording by their stamps."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from itertools import groupby

from semantic_field.data.bag_reader import Message


def with_stamps(messages: list[Message]) -> tuple[list[Message], Counter[str]]:
    """Return the messages with usable stamps, and the number of the others by cause.

    ``zero_stamp``: the driver left it empty. ``negative_stamp``: before 1970.
    ``constant_stamp``: all of several messages have the same.
    """
    lost: Counter[str] = Counter()
    usable = []
    for message in messages:
        if message.stamp_ns > 0:
            usable.append(message)
        else:
            lost["zero_stamp" if message.stamp_ns == 0 else "negative_stamp"] += 1
    received = {message.received_ns for message in usable}
    if len(received) > 1 and len({message.stamp_ns for message in usable}) == 1:
        lost["constant_stamp"] += len(usable)
        usable = []
    return usable, lost


def pair(first: list[Message], second: list[Message], slop_s: float) -> dict[int, Message]:
    """Return for positions in ``first`` the message of ``second`` that belongs to it.

    Both lists must be sorted by stamp, then reception time. Messages with the same stamp form a
    group; two groups are paired if each is the other's nearest and their stamps differ by at most
    ``slop_s``. Within groups of equal length, messages are paired in order; else by mutually
    nearest reception time.
    """
    ours, theirs = _groups(first), _groups(second)
    pairs: dict[int, Message] = {}
    for i, j in _mutual(_stamps(ours), _stamps(theirs), slop_s * 1e9):
        mine, others = ours[i], theirs[j]
        if len(mine) == len(others):
            matches = [(k, k) for k in range(len(mine))]
        else:
            matches = _mutual([m.received_ns for _, m in mine], [m.received_ns for _, m in others])
        pairs |= {mine[a][0]: others[b][1] for a, b in matches}
    return pairs


def _groups(messages: list[Message]) -> list[list[tuple[int, Message]]]:
    """Group positions and messages by stamp."""
    by_stamp = groupby(enumerate(messages), lambda item: item[1].stamp_ns)
    return [list(group) for _, group in by_stamp]


def _stamps(groups: list[list[tuple[int, Message]]]) -> list[int]:
    return [group[0][1].stamp_ns for group in groups]


def _mutual(
    first: list[int], second: list[int], slop: float = float("inf")
) -> list[tuple[int, int]]:
    """Return the position pairs in two sorted lists of times that are each other's nearest."""
    found = []
    for a, time in enumerate(first):
        b = _nearest(second, time)
        if b is not None and abs(second[b] - time) <= slop and _nearest(first, second[b]) == a:
            found.append((a, b))
    return found


def _nearest(times: list[int], time: int) -> int | None:
    """Return the position of the time nearest to ``time``, None in an empty list."""
    after = bisect_left(times, time)
    around = [i for i in (after - 1, after) if 0 <= i < len(times)]
    return min(around, key=lambda i: abs(times[i] - time), default=None)
