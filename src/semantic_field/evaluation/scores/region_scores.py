"""How well proposed regions stand for the objects that are really there."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.teachers.regions import Regions

LEAST_PIXELS = 300  # smaller objects are not asked for
NEAR_PX = 2


@dataclass(frozen=True)
class RegionScores:
    """Of one image.

    Attributes:
        best_iou: mean over objects of the IoU with the region that fits best.
        purity: share of pixels whose region, the last that covers them, belongs mostly to their
            object: what a vote within regions can reach.
        boundary_recall: share of the objects' borders with a border of those regions within 2 px.
        count: of regions.
    """

    best_iou: float
    purity: float
    boundary_recall: float
    count: int


def score_regions(regions: Regions, instances: NDArray[np.integer]) -> RegionScores:
    """Hold regions against true object ids (H, W), -1 = none.

    Raises:
        ValueError: where there is no object of ``LEAST_PIXELS`` pixels.
    """
    ids, index, counts = np.unique(instances, return_inverse=True, return_counts=True)
    index, counts = index.reshape(-1), counts.astype(np.float64)
    asked = (counts >= LEAST_PIXELS) & (ids >= 0)
    if not asked.any():
        raise ValueError(f"expected an object of {LEAST_PIXELS} pixels, got ids {ids.tolist()}")
    best = np.zeros(len(ids))
    for mask in regions:
        inside = np.bincount(index[mask.reshape(-1)], minlength=len(ids))
        best = np.maximum(best, inside / (mask.sum() + counts - inside))
    top = regions.label_image()
    joint = np.zeros((len(regions) + 1, len(ids)))
    np.add.at(joint, (top.reshape(-1), index), 1)  # row -1 is the last one: no region
    objects = joint[:-1, ids >= 0]
    edges, near = _borders(instances), np.ones((2 * NEAR_PX + 1,) * 2, np.uint8)
    found = edges & np.asarray(cv2.dilate(_borders(top), near), np.uint8)
    return RegionScores(
        best_iou=float(best[asked].mean()),
        purity=float(objects.max(1, initial=0).sum() / counts[ids >= 0].sum()),
        boundary_recall=float(found.sum() / max(edges.sum(), 1)),
        count=len(regions),
    )


def _borders(labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    borders = np.zeros(labels.shape, np.uint8)
    borders[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    borders[1:] |= labels[1:] != labels[:-1]
    return borders
