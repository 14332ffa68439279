"""Checks of camera poses by reprojecting depth from one image into another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from semantic_field.frames import Frame
from semantic_field.geometry import Array, invert_transform, transform_points

STRIDE = 4  # every fourth pixel of every fourth row is used
LEAST_POINTS = 100
PAIRS = 8
MOVED = 0.02  # relative depth difference; images of a camera at rest differ by less
MOST_MOVED = 0.3  # images of different places differ by more
EVERY = 10  # frames between two checks of a camera whose pose is constant


class StillCamera:
    """Detects cameras whose images change while their pose is constant."""

    def __init__(self) -> None:
        self._first: Frame | None = None
        self._frames, self._moved = 0, False

    def moves_unseen(self, frame: Frame) -> bool:
        """Return whether this image shows another view than the first one at the same pose."""
        first = self._first = self._first or frame
        self._frames += 1
        self._moved = self._moved or not np.allclose(
            frame.T_world_camera, first.T_world_camera, rtol=0.0, atol=1e-6
        )
        if self._moved or self._frames % EVERY:
            return False
        return depth_disagreement(first, frame, np.eye(4)) > MOVED


def depth_disagreement(first: Frame, second: Frame, T_second_first: Array) -> float:
    """Return the median relative depth difference |z1 - z2| / z2 of two images.

    NaN if too few readings of the first image project onto readings of the second one.
    """
    depth = first.depth[::STRIDE, ::STRIDE]
    points = first.camera.backproject(first.depth)[::STRIDE, ::STRIDE][depth > 0]
    _, u, v, z = second.camera.pixels_inside(transform_points(T_second_first, points))
    there = second.depth[v, u]
    both = there > 0
    if both.sum() < LEAST_POINTS:
        return float("nan")
    return float(np.median(np.abs(z[both] - there[both]) / there[both]))


def shows_the_same(first: Frame, second: Frame, others: tuple[Frame, Frame] | None) -> bool:
    """Return whether two images were taken from nearly the same place, regardless of their poses.

    Args:
        others: two neighbouring images of the recording, as a reference for the usual difference
            between successive images.
    """
    at_rest = np.eye(4)
    usual = depth_disagreement(*others, at_rest) if others else 0.0
    limit = min(max(MOVED, 2.0 * float(np.nan_to_num(usual))), MOST_MOVED)
    return depth_disagreement(first, second, at_rest) < limit


def spread_pairs(count: int) -> list[tuple[int, int]]:
    """Return pairs of close frames, evenly spread over a recording of ``count`` frames."""
    step = max(1, count // 50)
    starts = np.linspace(0, count - 1 - step, PAIRS).round().astype(int) if count > step else []
    return [(i, i + step) for i in dict.fromkeys(np.asarray(starts, int).tolist())]


def best_poses(
    frame: Callable[[int], Frame], alternatives: Sequence[Sequence[Array]]
) -> list[float]:
    """Return the mean depth disagreement of neighbouring images for each alternative.

    Args:
        frame: decodes frame i; its own pose is not used.
        alternatives: for each alternative the poses ``T_world_camera`` of all frames.
    Returns:
        One value for each alternative; NaN if no pair can be compared.
    """
    totals = np.full((len(alternatives), 0), np.nan)
    for i, j in spread_pairs(len(alternatives[0])):
        first, second = frame(i), frame(j)
        column = [
            depth_disagreement(first, second, invert_transform(poses[j]) @ poses[i])
            for poses in alternatives
        ]
        totals = np.column_stack([totals, column])
    known = totals[:, np.isfinite(totals).all(0)]
    return known.mean(1).tolist() if known.shape[1] else [float("nan")] * len(alternatives)
