"""The label corruptions of Semantic-NeRF (Zhi et al. 2021) as pure functions on label arrays.

Rules follow the released code. Labels are class ids (H, W), -1 = void; ``classes`` are the ids of
all classes without void. Arguments are never changed in place.
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
    """Return ``count`` evenly spaced numbers of 0..n-1, from 0 on; larger steps come first."""
    quotient, rest = divmod(n, count)
    return [quotient * i + min(i, rest) for i in range(count)]


def sparse_views(n: int, dropped: float) -> list[int]:
    """Return which of n frames keep their labels when a share ``dropped`` (0..1) loses them.

    Up to one half the dropped frames are evenly spaced, beyond that the kept ones.
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
    """Give ``int(share * H W)`` random pixels a uniformly random label, *including void*."""
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
    """Choose which instances are mislabelled in which frames.

    Every instance is mislabelled in a share of the frames that show it, in each with one random
    class, which may be void or the right one. With ``even`` false (the paper's "sort") these are
    the frames in which its area is smallest; with ``even`` they are evenly spaced in the order of
    its area.

    Args:
        areas: for each instance its area in pixels in each frame that shows it.
    Returns:
        (frame, instance) to the wrong class id, or -1 for void.
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
    """Reduce the resolution of labels by ``factor``, at the old image size.

    Dense: nearest-neighbour resampling down and up again, all pixels labelled. Sparse: the pixels
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
    """Simulate user clicks: keep of every class one random pixel, or a ``share`` (0..1) of it.

    A share is grown from a random pixel of the class by 5x5 dilations (which may pass over other
    classes; only pixels of the class are kept) until it has ``int(share * area)`` pixels; when a
    dilation adds none, another random pixel of the class becomes a seed.
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
