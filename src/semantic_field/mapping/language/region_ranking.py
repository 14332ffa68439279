"""Region semantic ranking (OV-NeRF): all pixels of a region get the region's most frequent class.

Two rules. *Released* is what OV-NeRF's published code does, with its order, ties and label 0.
*Mended* lets every pixel vote with its probabilities, knows how sure a region is, and leaves
pixels without a region alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semantic_field.teachers.language import cells_of
from semantic_field.teachers.regions import Regions

PRIOR_PIXELS = 100.0  # a region of so many pixels is believed half as much as its votes say


def released_ranking(labels: NDArray[np.integer], regions: Regions) -> NDArray[np.int64]:
    """Labels (H, W), 0 = unlabelled, by regions as the released code does it.

    Regions are taken in their given order and overwrite earlier ones. In each the most frequent
    label other than 0 wins, the smallest one where several are; a region of zeros alone is
    skipped. Pixels of no region, or of skipped ones only, come out as 0.
    """
    pixels, owner = pixels_of(regions)
    classes = int(labels.max(initial=0)) + 1
    ballots = owner * classes + labels.reshape(-1)[pixels]
    votes = np.bincount(ballots, minlength=len(regions) * classes).reshape(-1, classes)
    votes[:, 0] = 0
    result = np.zeros(labels.size, np.int64)
    winner = votes.argmax(1) if classes > 1 else np.zeros(len(regions), np.int64)
    voted = (votes.sum(1) > 0)[owner]
    result[pixels[voted]] = winner[owner[voted]]  # of repeated pixels the last one counts
    return result.reshape(labels.shape)


def mended_ranking(
    probability: NDArray[np.float32], regions: Regions
) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Class rows (H, W), -1 where no region is, and how sure each pixel's region is (H, W).

    A region's class is the one with the highest mean probability over its pixels. Where regions
    overlap, the surest one counts: the gap between its first and second class, less for small
    ones.

    Args:
        probability: (h, w, C) of the cells that the image is tiled with; all zeros = no vote.
        regions: at the size (H, W) of the result.
    """
    h, w, classes = probability.shape
    size = regions.height * regions.width
    pixels, owner = pixels_of(regions)
    row, column = np.divmod(pixels, regions.width)
    place = np.stack([row, column], -1)
    cell = cells_of(place, (regions.height, regions.width), (h, w)) @ [w, 1]
    cover = np.bincount(owner * (h * w) + cell, minlength=len(regions) * h * w)
    votes = cover.reshape(len(regions), h * w).astype(np.float32) @ probability.reshape(-1, classes)
    winner, lead = likeliest(votes)
    sure = lead / (np.maximum(regions.areas, 1) + PRIOR_PIXELS)
    rows, weight = np.full(size, -1, np.int16), np.zeros(size, np.float32)
    rank = np.argsort(np.argsort(sure, kind="stable"), kind="stable")
    order = np.argsort(rank[owner], kind="stable")
    order = order[(sure > 0)[owner[order]]]
    rows[pixels[order]] = winner[owner[order]]
    weight[pixels[order]] = sure[owner[order]]
    shape = (regions.height, regions.width)
    return rows.reshape(shape), weight.reshape(shape)


def likeliest(score: NDArray[np.float32]) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """The class of each row (N, C) that scores most, -1 where none does, and its lead (N,)."""
    second, first = np.sort(np.pad(score, ((0, 0), (1, 0))), 1)[:, -2:].T
    return np.where(first > 0, score.argmax(1), -1).astype(np.int16), first - second


def pixels_of(regions: Regions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All pixel numbers of all regions, region by region, and the region of each."""
    lengths = (regions.stops - regions.starts).astype(np.int64)
    before = np.cumsum(lengths) - lengths
    pixels = np.arange(lengths.sum()) - np.repeat(before - regions.starts, lengths)
    runs = np.diff(regions.splits)
    return pixels, np.repeat(np.repeat(np.arange(len(regions)), runs), lengths)
