"""Whether images say of the camera's poses that they are right: by reprojected depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from semantic_field.frames import Frame
from semantic_field.geometry import Array, invert_transform, transform_points

STRIDE = 4  # every fourth pixel and row
LEAST_POINTS = 100
PAIRS = 8
MOVED = 0.02  # of the depth: images of a camera at rest differ by less
MOST_MOVED = 0.3  # images of different places differ by more
EVERY = 10  # frames between two looks at a camera whose pose stays


class StillCamera:
    """Notices images that move while their poses do not."""

    def __init__(self) -> None:
        self._first: Frame | None = None
        self._frames, self._moved = 0, False

    def moves_unseen(self, frame: Frame) -> bool:
        """Whether this image is of another view than the first one, at the very same pose."""
        first = self._first = self._first or frame
        self._frames += 1
        self._moved = self._moved or not np.allclose(
            frame.T_world_camera, first.T_world_camera, rtol=0.0, atol=1e-6
        )
        if self._moved or self._frames % EVERY:
            return False
        return depth_disagreement(first, frame, np.eye(4)) > MOVED


def depth_disagreement(first: Frame, second: Frame, T_second_first: Array) -> float:
    """How far the readings of two images are apart where both see: median of |z1 - z2| / z2.

    NaN where too few readings of the first image lie in the second one.
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
    """Whether two images were taken nearly from one place, whatever their poses say.

    ``others``: two neighbouring images of the same recording, which say how much changes there
    from one image to the next.
    """
    at_rest = np.eye(4)
    usual = depth_disagreement(*others, at_rest) if others else 0.0
    limit = min(max(MOVED, 2.0 * float(np.nan_to_num(usual))), MOST_MOVED)
    return depth_disagreement(first, second, at_rest) < limit


def spread_pairs(count: int) -> list[tuple[int, int]]:
    """Some pairs of frames of a recording that lie close together, all over it."""
    step = max(1, count // 50)
    starts = np.linspace(0, count - 1 - step, PAIRS).round().astype(int) if count > step else []
    return [(i, i + step) for i in dict.fromkeys(np.asarray(starts, int).tolist())]


def best_poses(
    frame: Callable[[int], Frame], alternatives: Sequence[Sequence[Array]]
) -> list[float]:
    """Mean disagreement of neighbouring images, for each of several ways to place all frames.

    NaN where no pair can be compared. ``frame(i)`` decodes frame i; its own pose does not count.
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
