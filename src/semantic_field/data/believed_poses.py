"""Rejection of implausible camera poses, and the choice of a map's origin.

Poses are grouped into chains of poses that follow one another at a plausible speed. A single pose
far from the others is an outlier; several that agree mean that the world frame has moved.
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

FAR_M = 500.0  # distance from the world's zero from which on a map gets an origin of its own
ROUND_M = 100.0  # origins are whole multiples of this
REACH_M = 1000.0  # largest distance in one map from its origin
FARTHEST_M = 1e8  # no place on Earth has larger coordinates, in any coordinate system
JUMP_M = 5.0  # smaller shifts of the world frame are treated as drift
SLACK_M = 2.0  # position difference that is always allowed between two poses
MAX_SPEED_MPS = 10.0
TIMES_USUAL = 20.0  # or so many usual steps are allowed: photographs may be taken far apart
AGREE = 3  # number of agreeing poses that replace the current chain
RECENT = 20  # poses from which the usual step is estimated
LEAST_RECENT = 5  # fewer poses give no estimate


def origin_of(position: Position) -> Position:
    """Return the origin (3,), metres, of a map that begins at a position: zero if that is near."""
    if np.abs(position).max() < FAR_M:
        return np.zeros(3)
    return np.round(position / ROUND_M) * ROUND_M


def possible(position: Position) -> bool:
    """Return whether a position (3,), metres, can be on Earth."""
    return bool((np.abs(position) <= FARTHEST_M).all())


def usual_step(positions: Sequence[Position]) -> float:
    """Return the lower quartile of the distances to the nearest other position, metres."""
    if len(positions) < 2:
        return 0.0
    distances, _ = KDTree(np.stack(positions)).query(np.stack(positions), k=2)
    return float(np.quantile(np.asarray(distances)[:, 1], 0.25))


@dataclass
class Chain:
    """A chain of plausible successive poses: stamp and position of the newest, and the count."""

    stamp_ns: int
    position: Position
    count: int = 1

    def reaches(self, stamp_ns: int, position: Position, usual_m: float, speed_mps: float) -> bool:
        """Return whether a pose can be the next one in this chain."""
        seconds = abs(stamp_ns - self.stamp_ns) / 1e9
        limit = max(SLACK_M + speed_mps * seconds, TIMES_USUAL * usual_m)
        return float(np.linalg.norm(position - self.position)) <= limit

    def extend(self, stamp_ns: int, position: Position) -> None:
        self.stamp_ns, self.position, self.count = stamp_ns, position, self.count + 1


class Verdict(Enum):
    """The verdict on a pose.

    BELIEVED: it follows the poses before. DOUBTED: it is (so far) an outlier. MOVED: it is the
    last of several that agree with each other but not with the poses before."""

    BELIEVED = "believed"
    DOUBTED = "doubted"
    MOVED = "moved"


class PoseJudge:
    """Judges the poses of a live stream one by one.

    Args:
        max_speed_mps: largest plausible speed; 0 = every pose on Earth is believed.
    Attributes:
        believed: length of the current chain before the last verdict.
        doubted: number of poses that agree with each other but not with that chain.
    """

    def __init__(self, max_speed_mps: float) -> None:
        self.max_speed_mps = max_speed_mps
        self._chain: Chain | None = None
        self._other: Chain | None = None
        self._recent: deque[Position] = deque(maxlen=RECENT)
        self.believed = self.doubted = 0

    def judge(self, stamp_ns: int, position: Position) -> Verdict:
        """Return the verdict on the next position (3,), metres."""
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
    """Return the chain number (N,) of each pose of a recording; -1 = not on Earth.

    A pose joins the newest chain that it can follow, so that outliers do not interrupt chains.
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
