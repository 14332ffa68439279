"""Where in the world a map lies, and which poses are believed.

A camera cannot be kilometres away in a tenth of a second: poses fall into chains, each of poses
that follow one another at a speed that is possible. One pose alone decides nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

Position = NDArray[np.float64]

FAR_M = 500.0  # from the world's zero: from there on a map has an origin of its own
ROUND_M = 100.0  # origins are whole multiples of this
REACH_M = 1000.0  # of one map, from its origin
FARTHEST_M = 1e8  # no place on Earth has larger coordinates, in any system
JUMP_M = 5.0  # a world that moves by less is taken for drift
SLACK_M = 2.0  # poses may differ by so much at any time
MAX_SPEED_MPS = 10.0
TIMES_USUAL = 20.0  # or by so many of the usual steps: photographs may be taken far apart
AGREE = 3  # poses that outweigh those before
RECENT = 20
LEAST_RECENT = 5


def origin_of(position: Position) -> Position:
    """The origin (3,) of a map that begins at a position: zero, unless that is far away."""
    if np.abs(position).max() < FAR_M:
        return np.zeros(3)
    return np.round(position / ROUND_M) * ROUND_M


def possible(position: Position) -> bool:
    """Whether a position (3,) can be one on Earth."""
    return bool((np.abs(position) <= FARTHEST_M).all())


def usual_step(positions: Sequence[Position]) -> float:
    """How far a pose usually is from the nearest other one, metres; small where most are close."""
    if len(positions) < 2:
        return 0.0
    distances, _ = KDTree(np.stack(positions)).query(np.stack(positions), k=2)
    return float(np.quantile(np.asarray(distances)[:, 1], 0.25))


@dataclass
class Chain:
    """Poses that follow one another: the newest, and how many they are."""

    stamp_ns: int
    position: Position
    count: int = 1

    def reaches(self, stamp_ns: int, position: Position, usual_m: float, speed_mps: float) -> bool:
        """Whether a pose may be the next one."""
        seconds = abs(stamp_ns - self.stamp_ns) / 1e9
        limit = max(SLACK_M + speed_mps * seconds, TIMES_USUAL * usual_m)
        return float(np.linalg.norm(position - self.position)) <= limit

    def extend(self, stamp_ns: int, position: Position) -> None:
        self.stamp_ns, self.position, self.count = stamp_ns, position, self.count + 1


class Verdict(Enum):
    """What is thought of a pose: it follows those before, it stands alone, or it is the newest of
    several that agree with each other and not with those before."""

    BELIEVED = "believed"
    DOUBTED = "doubted"
    MOVED = "moved"


class PoseJudge:
    """Judges poses as they come.

    Args:
        max_speed_mps: a faster camera is not believed; 0 = every possible pose is.
    Attributes:
        believed: how many poses there were in the chain before the last verdict.
        doubted: how many agree with each other and not with those.
    """

    def __init__(self, max_speed_mps: float) -> None:
        self.max_speed_mps = max_speed_mps
        self._chain: Chain | None = None
        self._other: Chain | None = None
        self._recent: deque[Position] = deque(maxlen=RECENT)
        self.believed = self.doubted = 0

    def judge(self, stamp_ns: int, position: Position) -> Verdict:
        """The verdict on the next pose (3,), metres. ``believed`` tells of those before it."""
        if not possible(position):
            return Verdict.DOUBTED
        chain, other = self._chain, self._other
        speed = self.max_speed_mps
        self.believed = chain.count if chain else 0
        usual = usual_step(list(self._recent)) if len(self._recent) >= LEAST_RECENT else 0.0
        self._recent.append(position)
        if chain is None:
            self._chain = Chain(stamp_ns, position)
            return Verdict.BELIEVED
        if not speed or chain.reaches(stamp_ns, position, usual, speed):
            chain.extend(stamp_ns, position)
            self._other, self.doubted = None, 0
            return Verdict.BELIEVED
        if other is None or not other.reaches(stamp_ns, position, usual, speed):
            self._other, self.doubted = Chain(stamp_ns, position), 1
            return Verdict.DOUBTED
        other.extend(stamp_ns, position)
        self.doubted = other.count
        if other.count < min(AGREE, chain.count + 1):
            return Verdict.DOUBTED
        self._chain, self._other = other, None
        return Verdict.MOVED


def chains_of(stamps_ns: Sequence[int], positions: Sequence[Position]) -> NDArray[np.int64]:
    """For each pose of a recording the number of its chain; -1 = no place on Earth.

    A pose joins the newest chain that it can follow, so that outliers interrupt none.
    """
    good = [position for position in positions if possible(position)]
    usual, chains, numbers = usual_step(good), [], []
    for stamp, position in zip(stamps_ns, positions, strict=True):
        if not possible(position):
            numbers.append(-1)
            continue
        newest = sorted(range(len(chains)), key=lambda i: -chains[i].stamp_ns)
        fitting = (i for i in newest if chains[i].reaches(stamp, position, usual, MAX_SPEED_MPS))
        number = next(fitting, None)
        if number is None:
            number = len(chains)
            chains.append(Chain(stamp, position))
        else:
            chains[number].extend(stamp, position)
        numbers.append(number)
    return np.array(numbers, np.int64)
