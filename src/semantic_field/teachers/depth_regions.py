"""Regions without a checkpoint: superpixels merged over colour, depth steps and creases.

Pixels are joined to superpixels by the graph rule of Felzenszwalb and Huttenlocher (2004), and
superpixels to regions by joining the most alike neighbours first. What keeps neighbours apart are
steps of the surface, creases in which it bends inwards (things stand on and against each other
with such creases, and are themselves bent outwards: Stein et al. 2014, "locally convex connected
patches"), and colour.
"""

# Compiled functions carry no annotations: Numba infers their types.
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.geometry import Camera
from semantic_field.teachers.regions import Regions

_jit = njit(nogil=True, cache=True, error_model="numpy")


@dataclass(frozen=True)
class Weights:
    """How neighbours are told apart; found on another room than the figures in the docs.

    Attributes:
        width: images are segmented at about this width, pixels.
        color: difference of two colours (CIE Lab) that counts as 1.
        step: step of the surface that counts as 1, as a share of the depth.
        crease: turn of the surface, 1 - cos, that counts as 1 where it bends inwards.
        outward: how much a turn outwards counts, times an inward one.
        grain: how freely superpixels form: large values give large ones.
        least_pixels: superpixels and regions smaller than this join their best neighbour.
        thin: so are those with fewer pixels to a pixel of border: mixed colours along edges.
        small: regions of fewer pixels than this join more freely.
        limits: how unlike neighbours are joined, from fine to coarse; each limit gives regions.
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


@_jit
def _slope(disparity, axis, reach):
    """Change of inverse depth per pixel along an axis: of the two sides the flatter one.

    Inverse depth is affine over a plane, so this is exact there; at a depth step the side that
    stays on the surface is taken.
    """
    height, width = disparity.shape
    slope = np.zeros((height, width), np.float32)
    dy, dx = (reach, 0) if axis == 0 else (0, reach)
    for y in range(height):
        for x in range(width):
            here = disparity[y, x]
            best = np.float32(np.inf)
            for sign in (-1, 1):
                v, u = y + sign * dy, x + sign * dx
                if 0 <= v < height and 0 <= u < width and disparity[v, u] > 0:
                    change = (disparity[v, u] - here) * sign / reach
                    if abs(change) < abs(best):
                        best = change
            slope[y, x] = best if np.isfinite(best) and here > 0 else 0.0
    return slope


@_jit
def _edge_weights(lab, disparity, slopes, normals, back, limits):
    """What separates each pixel from its right and its lower neighbour: (2, H, W, 2).

    The last axis is geometry and colour; normals are compared ``back`` pixels away from the
    edge on both sides, where they do not see across it.
    """
    height, width = disparity.shape
    color_unit, step_unit, crease_unit, outward = limits
    weights = np.zeros((2, height, width, 2), np.float32)
    for axis in range(2):
        dy, dx = (0, 1) if axis == 0 else (1, 0)
        for y in range(height - dy):
            for x in range(width - dx):
                v, u = y + dy, x + dx
                color = 0.0
                for channel in range(3):
                    color += (lab[y, x, channel] - lab[v, u, channel]) ** 2
                weights[axis, y, x, 1] = np.sqrt(color) / color_unit
                here, there = disparity[y, x], disparity[v, u]
                if here <= 0 or there <= 0:
                    continue
                change = there - here
                slope = slopes[1 - axis]
                off = min(abs(change - slope[y, x]), abs(change - slope[v, u]))
                step = off / min(here, there) / step_unit  # metres over depth, to first order
                v0, u0 = max(y - back * dy, 0), max(x - back * dx, 0)
                v1, u1 = min(v + back * dy, height - 1), min(u + back * dx, width - 1)
                turn = 0.0
                if step < 1.0:
                    a, b = normals[v0, u0], normals[v1, u1]
                    cosine = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
                    turn = (1.0 - cosine) / crease_unit
                    # The normals point at the camera: bent outwards, they lean apart.
                    along = (b[0] - a[0]) * dx + (b[1] - a[1]) * dy
                    if along > 0:
                        turn *= outward
                weights[axis, y, x, 0] = min(step, 2.0) + min(turn, 2.0)
    return weights


@_jit
def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@_jit
def _superpixels(weight, order, grain, least):
    """Felzenszwalb and Huttenlocher's rule over edges sorted by weight; labels (H, W) from 0.

    ``weight`` (2, H, W) of the edges to the right and down, ``order`` their flat indices.
    """
    _, height, width = weight.shape
    pixels = height * width
    flat = weight.reshape(-1)
    parent, size = np.arange(pixels), np.ones(pixels, np.int64)
    inner = np.zeros(pixels, np.float32)
    for again in range(2):
        for edge in order:
            pixel = edge % pixels
            if edge < pixels:
                if pixel % width == width - 1:
                    continue
                other = pixel + 1
            else:
                if pixel >= pixels - width:
                    continue
                other = pixel + width
            a, b = _root(parent, pixel), _root(parent, other)
            if a == b:
                continue
            limit = min(inner[a] + grain / size[a], inner[b] + grain / size[b])
            if flat[edge] <= limit or (again and min(size[a], size[b]) < least):
                if size[a] < size[b]:
                    a, b = b, a
                parent[b] = a
                size[a] += size[b]
                inner[a] = max(inner[a], flat[edge])
    number = np.full(pixels, -1, np.int32)
    labels = np.empty(pixels, np.int32)
    count = 0
    for pixel in range(pixels):
        root = _root(parent, pixel)
        if number[root] < 0:
            number[root] = count
            count += 1
        labels[pixel] = number[root]
    return labels.reshape(height, width), count


@_jit
def _neighbours(labels, count, weights, lab):
    """Pairs of touching superpixels with sums over their border, and each one's colour and size.

    Returns pairs (E, 2), sums (E, 3) = length, geometry, colour; colours (N, 3) sums; sizes (N,).
    """
    height, width = labels.shape
    sizes, colors = np.zeros(count), np.zeros((count, 3))
    for y in range(height):
        for x in range(width):
            sizes[labels[y, x]] += 1
            for channel in range(3):
                colors[labels[y, x], channel] += lab[y, x, channel]
    most = 2 * height * width
    keys = np.empty(most, np.int64)
    values = np.empty((most, 2), np.float32)
    n = 0
    for axis in range(2):
        dy, dx = (0, 1) if axis == 0 else (1, 0)
        for y in range(height - dy):
            for x in range(width - dx):
                a, b = labels[y, x], labels[y + dy, x + dx]
                if a != b:
                    keys[n] = min(a, b) * np.int64(count) + max(a, b)
                    values[n] = weights[axis, y, x]
                    n += 1
    order = np.argsort(keys[:n])
    pairs, sums = np.empty((n, 2), np.int64), np.zeros((n, 3))
    edges = -1
    last = np.int64(-1)
    for i in order:
        if keys[i] != last:
            edges += 1
            last = keys[i]
            pairs[edges, 0], pairs[edges, 1] = last // count, last % count
        sums[edges, 0] += 1
        sums[edges, 1] += values[i, 0]
        sums[edges, 2] += values[i, 1]
    return pairs[: edges + 1], sums[: edges + 1], colors, sizes


@_jit
def _cost(sums, colors, sizes, a, b, color_unit, small):
    """How unlike two neighbours are: geometry at their border, colour there and as a whole."""
    difference = 0.0
    for channel in range(3):
        difference += (colors[a, channel] / sizes[a] - colors[b, channel] / sizes[b]) ** 2
    whole = np.sqrt(difference) / color_unit
    border = sums[2] / sums[0]
    color = np.sqrt(whole * border)  # shading differs as a whole, texture at the border
    ease = min(1.0, (min(sizes[a], sizes[b]) / small) ** 0.5)
    return (sums[1] / sums[0] + color) * ease


@_jit
def _merge(pairs, sums, colors, sizes, limits, color_unit, small, least, thin):
    """Join the most alike neighbours until none are alike enough; (limits, N) region numbers."""
    count = len(sizes)
    parent = np.arange(count)
    edges = len(pairs)
    around = np.zeros(count)  # length of each one's border
    for e in range(edges):
        around[pairs[e, 0]] += sums[e, 0]
        around[pairs[e, 1]] += sums[e, 0]
    cost = np.empty(edges)
    for e in range(edges):
        cost[e] = _cost(sums[e], colors, sizes, pairs[e, 0], pairs[e, 1], color_unit, small)
    at = np.full(count, -1)
    result = np.empty((len(limits), count), np.int64)
    for level in range(len(limits)):
        while edges:
            best = -1
            for e in range(edges):
                allowed = cost[e] <= limits[level]
                p, q = pairs[e]
                tiny = (
                    min(sizes[p], sizes[q]) < least
                    or min(sizes[p] / around[p], sizes[q] / around[q]) < thin
                )
                if (allowed or tiny) and (best < 0 or cost[e] < cost[best]):
                    best = e
            if best < 0:
                break
            a, b = pairs[best]
            parent[b] = a
            sizes[a] += sizes[b]
            around[a] += around[b] - 2 * sums[best, 0]
            colors[a] += colors[b]
            kept = 0
            for e in range(edges):  # b's neighbours become a's; edges that fall together add up
                p, q = pairs[e]
                p, q = (a if p == b else p), (a if q == b else q)
                if p == q:
                    continue
                touched = p == a or q == a
                other = q if p == a else p
                if touched and at[other] >= 0:
                    sums[at[other]] += sums[e]
                    continue
                pairs[kept, 0], pairs[kept, 1] = p, q
                sums[kept] = sums[e]
                cost[kept] = cost[e]
                if touched:
                    at[other] = kept
                kept += 1
            edges = kept
            for e in range(edges):
                p, q = pairs[e]
                if p == a or q == a:
                    at[q if p == a else p] = -1
                    cost[e] = _cost(sums[e], colors, sizes, p, q, color_unit, small)
        for i in range(count):
            result[level, i] = _root(parent, i)
    return result


class DepthRegions:
    """Regions from colour and depth (see the module); colour alone where there is no depth.

    The regions of each limit of ``weights`` are listed, coarse ones first: where the last mask
    wins, the fine ones do. A region that is the same at two limits is listed once.
    """

    name = "depth"

    def __init__(self, weights: Weights | None = None) -> None:
        self._weights = weights or Weights()
        self.fingerprint = f"depth_regions:1:{self._weights}"
        # Compiled now, on a machine's first run: later it would hold up whoever maps meanwhile.
        camera = Camera(8.0, 8.0, 7.5, 7.5, 16, 16)
        self.propose(np.zeros((16, 16, 3), np.uint8), np.ones((16, 16), np.float32), camera)

    def propose(
        self,
        color: NDArray[np.uint8],
        depth: NDArray[np.float32] | None = None,
        camera: Camera | None = None,
    ) -> Regions:
        """See ``RegionProposer``; the score says how clear the border of a region is.

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
        """Region numbers (h, w) at the working size for each limit, fine to coarse, and what
        separates each pixel from the right and the lower one (2, h, w)."""
        weights = self._weights
        height, width = color.shape[:2]
        shrink = max(1, round(width / weights.width))
        size = (max(1, width // shrink), max(1, height // shrink))
        lab = _lab(color, size)
        disparity, slopes, normals = _geometry(depth, camera, size)
        units = (weights.color, weights.step, weights.crease, weights.outward)
        edges = _edge_weights(lab, disparity, slopes, normals, 3, units)
        total = edges.sum(-1)
        order = np.argsort(total.reshape(-1))
        least = weights.least_pixels
        labels, count = _superpixels(total, order, weights.grain, least)
        graph = _neighbours(labels, count, edges, lab)
        limits = np.array(weights.limits)
        merged = _merge(*graph, limits, weights.color, weights.small, float(least), weights.thin)
        return [row[labels].astype(np.int32) for row in merged], total


def _lab(color: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """CIE Lab (h, w, 3) at the working size, slightly smoothed."""
    small = cv2.resize(color, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2Lab)
    return np.asarray(cv2.GaussianBlur(lab, (0, 0), 0.8), np.float32)


def _geometry(
    depth: NDArray[np.float32] | None, camera: Camera | None, size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Inverse depth (h, w), its slopes (2, h, w) along rows and columns, and unit normals
    (h, w, 3) towards the camera; all zeros where there is no reading."""
    width, height = size
    if depth is None or camera is None:
        zeros = np.zeros((height, width), np.float32)
        return zeros, np.stack([zeros] * 2), np.stack([zeros] * 3, axis=-1)
    small = cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST_EXACT)
    with np.errstate(divide="ignore"):
        disparity = np.where(small > 0, 1.0 / small, 0.0).astype(np.float32)
    disparity = np.asarray(cv2.medianBlur(_filled(disparity), 3), np.float32)
    slopes = np.stack([_slope(disparity, axis, 3) for axis in (0, 1)])
    view = camera.resized(width, height)
    # 1/z = a u + b v + c is the plane (fx a, fy b, a cx + b cy + c) . point = 1.
    u = np.arange(width, dtype=np.float32) - np.float32(view.cx)
    v = (np.arange(height, dtype=np.float32) - np.float32(view.cy))[:, None]
    plane = [view.fx * slopes[1], view.fy * slopes[0], disparity - slopes[1] * u - slopes[0] * v]
    normals = cv2.blur(-_unit(np.stack(plane, axis=-1).astype(np.float32)), (3, 3))
    return disparity, slopes, _unit(np.asarray(normals, np.float32))


def _filled(disparity: NDArray[np.float32]) -> NDArray[np.float32]:
    """Holes take the nearest reading: open ones would join what lies on both their sides."""
    hole = disparity == 0
    if hole.all() or not hole.any():
        return disparity
    _, nearest = cv2.distanceTransformWithLabels(
        hole.astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_label = np.zeros(nearest.max() + 1, np.float32)
    of_label[nearest[~hole]] = disparity[~hole]
    return of_label[nearest]


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _listed(
    levels: list[NDArray[np.int32]], edges: NDArray[np.float32], size: tuple[int, int]
) -> Regions:
    """The regions of all levels at the image's size, each different one once, largest first."""
    height, width = size
    masks: list[NDArray[np.bool_]] = []
    scores: list[float] = []
    seen = set()
    for level in levels:
        image = cv2.resize(level, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        counts, clear = np.bincount(image.reshape(-1)), _clear_share(level, edges)
        for region in np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)].tolist():
            # A region has the number of one of its superpixels, and only ever grows.
            if (region, counts[region]) not in seen:
                seen.add((region, counts[region]))
                masks.append(image == region)
                scores.append(float(clear[region]))
    return Regions.from_masks(masks, size, np.array(scores))


def _clear_share(level: NDArray[np.int32], edges: NDArray[np.float32]) -> NDArray[np.float64]:
    """How clear the border of each region is on average, 0..1; 1 without a border."""
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
