"""Detects the unit of depth images: if it is ambiguous, the one that gives plausible depths."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)
MILLIMETRE: Final = 0.001
NEAREST_M, FARTHEST_M = 0.05, 100.0  # range of plausible depths
LEAST_READINGS: Final = 20


class DepthUnit:
    """The unit of a stream of depth images, chosen by the first image with enough readings.

    Args:
        name: of the stream, for messages.
        candidates: possible units in metres, the most likely first; a single one is not checked.
    Attributes:
        metres: the chosen unit; None until there were enough readings.
    """

    def __init__(self, name: str, candidates: Sequence[float]) -> None:
        self._name, self._candidates = name, list(dict.fromkeys(candidates))
        self.metres = self._candidates[0] if len(self._candidates) == 1 else None

    def to_metres(self, units: NDArray[np.floating]) -> NDArray[np.float32]:
        """Convert depth in the stream's unit to float32 metres, 0 = no reading.

        Raises:
            ValueError: if no candidate gives plausible depths.
        """
        if self.metres is None:
            readings = units[np.isfinite(units) & (units > 0)]
            if len(readings) < LEAST_READINGS:
                return np.asarray(units, np.float32) * np.float32(self._candidates[0])
            self.metres = self._choose(readings)
        return np.asarray(units, np.float32) * np.float32(self.metres)

    def _choose(self, readings: NDArray[np.floating]) -> float:
        near, middle = np.quantile(readings, [0.1, 0.5])
        for metres in self._candidates:
            # Depths of sky and glass can be very large, but not in the nearest tenth of an image.
            if middle * metres >= NEAREST_M and near * metres <= FARTHEST_M:
                if metres != self._candidates[0]:
                    log.warning(
                        "%s: depth has a median of %.4g m if one unit is %g m; taken as %g m a "
                        "unit (median %.2f m); set --depth-scale if that is wrong",
                        self._name,
                        middle * self._candidates[0],
                        self._candidates[0],
                        metres,
                        middle * metres,
                    )
                return metres
        raise ValueError(
            f"expected the depth of a room in {self._name}, got a median of "
            f"{middle * self._candidates[0]:.4g} m; give the metres of one unit, such as "
            "--depth-scale 0.001"
        )


def message_unit(topic: str, is_float: bool, given: float | None = None) -> DepthUnit:
    """Return the unit of a depth topic.

    16 bits are millimetres, floats are metres (REP-118) or, with some drivers, millimetres.

    Args:
        given: metres per unit, overrides detection; ValueError if not positive."""
    if given is not None:
        return DepthUnit(topic, [check_scale(given)])
    return DepthUnit(topic, [1.0, MILLIMETRE] if is_float else [MILLIMETRE])


def file_unit(
    name: str, stated: float | None, is_float: bool, given: float | None = None
) -> DepthUnit:
    """Return the unit of depth image files.

    Args:
        stated: metres per unit as stated by the recording, in some recordings units per metre;
            None = metres for floats, millimetres for integers.
        given: metres per unit, overrides detection; ValueError if not positive."""
    if given is not None:
        return DepthUnit(name, [check_scale(given)])
    usual = [1.0, MILLIMETRE] if is_float else [MILLIMETRE]
    return DepthUnit(name, usual if stated is None else [stated, 1 / stated, *usual])


def check_scale(scale: float) -> float:
    """Return the scale; ValueError if it is not a positive number."""
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"expected depth_scale > 0 (metres of one unit), got {scale}")
    return float(scale)
