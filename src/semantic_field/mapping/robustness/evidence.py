"""Evidence in a stream of keyframes for or against an option that is left to "auto"."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from semantic_field.mapping.robustness.view_comparison import Disagreement

LEAST_PAIRS = 24  # comparisons before anything is decided
REMEMBERED_PAIRS = 120  # of the newest keyframes
UPPER = 75  # percentile of the pairs that must be above a limit: many, but not all of them
LEAST_SHIFT_PIXELS = 1.0  # of the images against each other, from which poses are refined ...
LEAST_SHIFT_M = 0.015  # ... or of their surfaces: what the field's finest cells tell apart
TIMES_UNCERTAIN = 2.0  # a shift counts if it is so many times its expected noise
WELL_SEEN_M = 0.01  # pairs whose shift is less certain say nothing about poses
LEAST_LOG_GAIN = 0.035  # root mean square of brightness differences that need exposures
LARGEST_SPARED = 2  # pairs that may be flukes


@dataclass(frozen=True)
class Finding:
    """What the evidence says.

    Attributes:
        needed: whether the option is needed; None while there is too little evidence.
        reason: in words, with numbers.
    """

    needed: bool | None
    reason: str


class Evidence(Protocol):
    """Evidence for one option, collected from comparisons of keyframes."""

    def add(self, seen: Disagreement) -> None:
        """Add the comparison of two keyframes."""
        ...

    def finding(self) -> Finding:
        """Return what all remembered comparisons say together."""
        ...


class PoseEvidence:
    """Whether poses need refinement: images and surfaces of neighbours are shifted.

    The upper quartile counts: a quarter of the pairs must disagree by ``LEAST_SHIFT_PIXELS`` or
    ``LEAST_SHIFT_M``, be it because all poses are a little wrong or because the camera came back
    with a drift. Noise averages out over the points of a pair; what is left of it is
    ``Disagreement.uncertain_m``. Pairs that see only bare walls have no say.
    """

    def __init__(self) -> None:
        self._pairs: deque[tuple[float, float, float]] = deque(maxlen=REMEMBERED_PAIRS)

    def add(self, seen: Disagreement) -> None:
        if seen.uncertain_m < WELL_SEEN_M:
            self._pairs.append((seen.shift_pixels, seen.shift_m, seen.uncertain_m))

    def finding(self) -> Finding:
        if len(self._pairs) < LEAST_PAIRS:
            return _too_few("with surfaces and texture enough to check poses", len(self._pairs))
        pixels, metres, noise = np.percentile(np.array(self._pairs), UPPER, axis=0)
        certain = metres > TIMES_UNCERTAIN * noise
        return Finding(
            bool(certain and (pixels > LEAST_SHIFT_PIXELS or metres > LEAST_SHIFT_M)),
            f"at their given poses, one in four of {len(self._pairs)} pairs of keyframes is "
            f"shifted by {1e3 * metres:.1f} mm ({pixels:.2f} pixels) or more; the limit is "
            f"{1e3 * LEAST_SHIFT_M:.0f} mm or {LEAST_SHIFT_PIXELS:g} pixels, and "
            f"{1e3 * TIMES_UNCERTAIN * noise:.1f} mm for noise",
        )


class ExposureEvidence:
    """Whether exposures need adaptation: the same surfaces have other colours in other keyframes.

    Differences of all three channels count, so those of white balance are found as well. The
    ``LARGEST_SPARED`` largest differences are left out, as they may be flukes.
    """

    def __init__(self) -> None:
        self._squares: deque[float] = deque(maxlen=REMEMBERED_PAIRS)

    def add(self, seen: Disagreement) -> None:
        if np.isfinite(seen.log_gain).all():
            self._squares.append(float((seen.log_gain**2).mean()))

    def finding(self) -> Finding:
        if len(self._squares) < LEAST_PAIRS:
            return _too_few("with colours to compare", len(self._squares))
        usual = np.sort(self._squares)[:-LARGEST_SPARED]
        difference = float(np.sqrt(usual.mean()))
        return Finding(
            difference > LEAST_LOG_GAIN,
            f"the same surfaces differ in brightness by {100 * np.expm1(difference):.1f} % "
            f"between keyframes (root mean square of {len(self._squares)} pairs); the limit is "
            f"{100 * np.expm1(LEAST_LOG_GAIN):.1f} %",
        )


def _too_few(kind: str, count: int) -> Finding:
    return Finding(None, f"{count} of {LEAST_PAIRS} pairs of keyframes {kind} so far")
