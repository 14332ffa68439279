"""The label corruptions of Semantic-NeRF (Zhi et al. 2021) as pure functions on label arrays.

Rules are those of the released code. Labels are class ids (H, W), -1 = void; ``classes`` are the
ids of all classes without void. Nothing is changed in place.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.frames import VOID_LABEL

Labels = NDArray[np.int32]
GROWTH = np.ones((5, 5), np.uint8)


def evenly(n: int, count: int) -> list[int]:
    """``count`` of 0..n-1 at even distances from 0 on; longer distances come first."""
    quotient, rest = divmod(n, count)
    return [quotient * i + min(i, rest) for i in range(count)]


def sparse_views(n: int, dropped: float) -> list[int]:
    """The frames of n that keep their labels when a share ``dropped`` (0..1) loses them.

    Up to one half the lost ones are evenly spaced, beyond that the kept ones.
    """
    lost = int(n * dropped)
    if lost == 0:
        return list(range(n))
    if dropped <= 0.5:
        gone = set(evenly(n, lost))
        return [i for i in range(n) if i not in gone]
    return evenly(n, n - lost) if lost < n else []


def pixel_noise(
    labels: Labels, share: float, classes: Sequence[int], random: np.random.Generator
) -> Labels:
    """``int(share * H W)`` random pixels get a uniform label of the classes *and void*."""
    result = labels.copy().reshape(-1)
    chosen = random.permutation(result.size)[: int(result.size * share)]
    choices = np.array([VOID_LABEL, *classes], np.int32)
    result[chosen] = random.choice(choices, len(chosen))
    return result.reshape(labels.shape)


def region_noise(
    areas: dict[int, dict[int, int]],
    share: float,
    even: bool,
    classes: Sequence[int],
    random: np.random.Generator,
) -> dict[tuple[int, int], int]:
    """Which instances are mislabelled in which frames: (frame, instance) to a class id or -1.

    Of every instance a share of the frames that show it is flipped, each to one random class,
    which may be void or the right one. "Sort" (not ``even``) takes the frames where its area is
    smallest, "even" frames at even distances in the order of its area.

    Args:
        areas: of each instance the pixels in each frame that shows it.
    """
    flips = {}
    for instance, of_frame in areas.items():
        frames = sorted(of_frame, key=lambda frame: of_frame[frame])
        count = int(len(frames) * share)
        chosen = frames[:count]
        if even and count:
            kept = set(sparse_views(len(frames), share))
            chosen = [frame for i, frame in enumerate(frames) if i not in kept]
        for frame in chosen:
            flips[frame, instance] = int(random.choice([VOID_LABEL, *classes]))
    return flips


def super_resolution(labels: Labels, factor: int, dense: bool) -> Labels:
    """Labels of ``factor`` times fewer rows and columns at the old size.

    Dense: nearest neighbour down and up again, all pixels labelled. Sparse: the pixels
    ``[::factor, ::factor]`` keep their label, all others are void.
    """
    if not dense:
        result = np.full_like(labels, VOID_LABEL)
        result[::factor, ::factor] = labels[::factor, ::factor]
        return result
    height, width = labels.shape
    small = cv2.resize(labels, (width // factor, height // factor), interpolation=cv2.INTER_NEAREST)
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(large, np.int32)


def clicks(labels: Labels, share: float, random: np.random.Generator) -> Labels:
    """What a user marks: of every class present one random pixel, or a grown ``share`` (0..1).

    A share grows from a random pixel of the class by 5x5 dilations (which may pass over other
    classes; only the class's own pixels count) until it holds ``int(share * area)`` pixels;
    where a dilation adds none, one more random pixel not yet covered is a seed.
    """
    result = np.full_like(labels, VOID_LABEL)
    for class_id in np.unique(labels[labels >= 0]).tolist():
        mask = labels == class_id
        result[_grown(mask, int(share * mask.sum()), random)] = class_id
    return result


def _grown(mask: NDArray[np.bool_], target: int, random: np.random.Generator) -> NDArray[np.bool_]:
    area = np.zeros(mask.shape, np.uint8)
    _seed(area, mask, random)
    covered = mask & (area > 0)
    while covered.sum() < target:
        before = covered.sum()
        area = np.asarray(cv2.dilate(area, GROWTH), np.uint8)
        covered = mask & (area > 0)
        if covered.sum() == before:
            _seed(area, mask & ~covered, random)
    return covered


def _seed(area: NDArray[np.uint8], free: NDArray[np.bool_], random: np.random.Generator) -> None:
    area.flat[random.choice(np.flatnonzero(free))] = 1
