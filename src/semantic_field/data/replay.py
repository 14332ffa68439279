"""When each frame of a recording is due: real time, faster, step by step, once or in a loop.

Pure logic without clocks: the caller waits, publishes and says when it wants the next step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MAX_GAP_S = 10.0
DEFAULT_PERIOD_NS = 200_000_000  # between loops of a recording with a single frame


@dataclass(frozen=True)
class Step:
    """One frame that is due.

    Attributes:
        index: which frame of the recording.
        loop: how often the recording was played before.
        delay_s: wall time to wait after the step before it (0 for the first, and always 0
            when stepping), seconds.
        due_s: wall time since the first step, seconds; waiting until ``start + due_s`` instead of
            ``delay_s`` after each other keeps small delays from adding up.
        stamp_ns: the stamp to publish the frame with, and the time of /clock.
        restarted: time goes backwards here: a new loop with the old stamps begins.
    """

    index: int
    loop: int
    delay_s: float
    due_s: float
    stamp_ns: int
    restarted: bool


def schedule(
    stamps_ns: Sequence[int],
    rate: float = 1.0,
    loop: bool = False,
    restart_stamps: bool = False,
    step: bool = False,
    max_gap_s: float = MAX_GAP_S,
) -> Iterator[Step]:
    """The steps of a replay, endless where it loops.

    Args:
        stamps_ns: stamps of the frames in the order to play them; they must not decrease.
        rate: 2 plays twice as fast as recorded.
        loop: start again after the last frame, one mean period later.
        restart_stamps: in a loop, begin again with the recorded stamps (time goes backwards)
            instead of counting on.
        step: no waiting: the caller asks for each frame when it wants one.
        max_gap_s: a longer pause of the recording is shortened to this in wall time.
    Raises:
        ValueError: no frames, decreasing stamps, or a rate that is not positive.
    """
    _check(stamps_ns, rate, max_gap_s)
    span = stamps_ns[-1] - stamps_ns[0] + mean_period_ns(stamps_ns)
    return _steps(stamps_ns, rate, loop, restart_stamps, step, max_gap_s, span)


def mean_period_ns(stamps_ns: Sequence[int]) -> int:
    """Mean time between frames, at least 1 ns; 0.2 s where there is one frame only."""
    if len(stamps_ns) < 2:
        return DEFAULT_PERIOD_NS
    return max(1, (stamps_ns[-1] - stamps_ns[0]) // (len(stamps_ns) - 1))


def _check(stamps_ns: Sequence[int], rate: float, max_gap_s: float) -> None:
    if not len(stamps_ns):
        raise ValueError("expected a recording with frames, got none")
    if not (rate > 0 and max_gap_s > 0):
        raise ValueError(f"expected rate and max_gap_s > 0, got {rate} and {max_gap_s}")
    for i in range(1, len(stamps_ns)):
        if stamps_ns[i] < stamps_ns[i - 1]:
            raise ValueError(
                f"expected stamps that do not decrease, frame {i} has {stamps_ns[i]} ns after "
                f"{stamps_ns[i - 1]} ns; sort the frames"
            )


def _steps(
    stamps_ns: Sequence[int],
    rate: float,
    loop: bool,
    restart_stamps: bool,
    step: bool,
    max_gap_s: float,
    span: int,
) -> Iterator[Step]:
    due, played = 0.0, 0
    before = stamps_ns[0]  # on a time line that counts on over all loops
    while True:
        for index, recorded in enumerate(stamps_ns):
            counted = recorded + played * span
            delay = 0.0 if step else min((counted - before) / 1e9 / rate, max_gap_s)
            due += delay
            yield Step(
                index=index,
                loop=played,
                delay_s=delay,
                due_s=due,
                stamp_ns=recorded if restart_stamps else counted,
                restarted=restart_stamps and played > 0 and index == 0,
            )
            before = counted
        if not loop:
            return
        played += 1
