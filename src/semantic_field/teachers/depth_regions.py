"""Region proposals without a checkpoint: superpixels merged by colour, depth steps and creases.

Pixels are merged to superpixels by the graph method of Felzenszwalb and Huttenlocher (2004), and
superpixels to regions by agglomerative clustering, most similar neighbours first. Neighbours are
separated by depth steps, concave creases (objects touch in concave creases and are mostly convex
themselves: Stein et al. 2014, "locally convex connected patches"), and colour.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.geometry import Camera
from semantic_field.teachers.depth_edges import edge_weights, smoothed_lab, surface_of
from semantic_field.teachers.regions import Regions
from semantic_field.teachers.superpixels import merge, neighbours, superpixels


@dataclass(frozen=True)
class Weights:
    """Parameters of the segmentation; tuned on another room than the scores in the docs.

    Attributes:
        width: images are segmented at about this width, pixels.
        color: colour difference (CIE Lab) that counts as 1.
        step: relative depth step that counts as 1.
        crease: turn of the surface, 1 - cos, that counts as 1 if concave.
        outward: factor for convex turns relative to concave ones.
        grain: size of superpixels; larger values give larger ones.
        least_pixels: superpixels and regions smaller than this are merged in any case.
        thin: so are those with fewer pixels per border pixel (mixed colours along edges).
        small: regions of fewer pixels are merged more easily.
        limits: dissimilarities up to which neighbours are merged, from fine to coarse; each limit
            gives a set of regions.
    """

    width: int = 320
    color: float = 8.7
    step: float = 0.011
    crease: float = 1.5
    outward: float = 0.1
    grain: float = 1.6
    least_pixels: int = 17
    thin: float = 0.6
    small: float = 800.0
    limits: tuple[float, ...] = (0.54, 0.9, 1.8)


class DepthRegions:
    """Region proposer by colour and depth (see the module), or by colour only without depth.

    Lists the regions of all ``limits``, coarse ones first, so that fine ones win where the last
    mask wins. A region that is the same at two limits is listed once.
    """

    name = "depth"

    def __init__(self, weights: Weights | None = None) -> None:
        self._weights = weights or Weights()
        self.fingerprint = f"depth_regions:1:{self._weights}"
        # Compile now (on a machine's first run), so that it does not delay mapping later.
        camera = Camera(8.0, 8.0, 7.5, 7.5, 16, 16)
        self.propose(np.zeros((16, 16, 3), np.uint8), np.ones((16, 16), np.float32), camera)

    def propose(
        self,
        color: NDArray[np.uint8],
        depth: NDArray[np.float32] | None = None,
        camera: Camera | None = None,
    ) -> Regions:
        """See ``RegionProposer``; the score is the mean strength of a region's border, 0..1.

        Raises:
            ValueError: on depth without a camera, or of another size than the colour.
        """
        size = color.shape[:2]
        if depth is not None and (camera is None or depth.shape != size):
            raise ValueError(
                f"expected depth of {size} like the colour, with its camera, got "
                f"{depth.shape} and {camera}"
            )
        levels, edges = self._levels(color, depth, camera)
        return _listed(levels[::-1], edges, size)

    def _levels(
        self, color: NDArray[np.uint8], depth: NDArray[np.float32] | None, camera: Camera | None
    ) -> tuple[list[NDArray[np.int32]], NDArray[np.float32]]:
        """Return region numbers (h, w) at the working size for each limit, fine to coarse, and
        the edge weights to the right and lower pixel (2, h, w)."""
        weights = self._weights
        height, width = color.shape[:2]
        shrink = max(1, round(width / weights.width))
        size = (max(1, width // shrink), max(1, height // shrink))
        colors = smoothed_lab(color, size)
        disparity, slopes, normals = surface_of(depth, camera, size)
        units = (weights.color, weights.step, weights.crease, weights.outward)
        edges = edge_weights(colors, disparity, slopes, normals, 3, units)
        total = edges.sum(-1)
        order = np.argsort(total.reshape(-1))
        least = weights.least_pixels
        labels, count = superpixels(total, order, weights.grain, least)
        graph = neighbours(labels, count, edges, colors)
        limits = np.array(weights.limits)
        merged = merge(*graph, limits, weights.color, weights.small, float(least), weights.thin)
        return [row[labels].astype(np.int32) for row in merged], total


def _listed(
    levels: list[NDArray[np.int32]], edges: NDArray[np.float32], size: tuple[int, int]
) -> Regions:
    """Return the regions of all levels at the image's size without duplicates, largest first."""
    height, width = size
    masks: list[NDArray[np.bool_]] = []
    scores: list[float] = []
    seen = set()
    for level in levels:
        image = cv2.resize(level, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        counts, clear = np.bincount(image.reshape(-1)), _clear_share(level, edges)
        for region in np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)].tolist():
            # A region has the number of one of its superpixels, and never shrinks.
            if (region, counts[region]) not in seen:
                seen.add((region, counts[region]))
                masks.append(image == region)
                scores.append(float(clear[region]))
    return Regions.from_masks(masks, size, np.array(scores))


def _clear_share(level: NDArray[np.int32], edges: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean edge weight (0..1) along the border of each region; 1 without a border."""
    count = level.max() + 1
    length, clear = np.zeros(count), np.zeros(count)
    sides = (
        (level[:, :-1], level[:, 1:], edges[0, :, :-1]),
        (level[:-1], level[1:], edges[1, :-1]),
    )
    for here, there, weight in sides:
        border = here != there
        weights = np.minimum(weight[border], 1.0)
        for region in (here[border], there[border]):
            length += np.bincount(region, minlength=count)
            clear += np.bincount(region, weights, minlength=count)
    return np.where(length > 0, clear / np.maximum(length, 1), 1.0)
