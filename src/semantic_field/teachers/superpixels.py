"""Graph-based superpixels, and their agglomerative merging to regions."""

# Compiled functions carry no annotations: Numba infers their types.
from __future__ import annotations

import numpy as np
from numba import njit

from semantic_field.kernels.union_find import find_root

_jit = njit(nogil=True, cache=True, error_model="numpy")


@_jit
def superpixels(weight, order, grain, least):
    """Merge pixels by the method of Felzenszwalb and Huttenlocher (2004).

    Args:
        weight: (2, H, W), of the edges to the right and down; not NaN.
        order: their flat indices (2 * H * W,), lightest first; edges that leave the image are
            skipped.
        grain: the method's parameter k, in units of the weights times pixels; larger values give
            larger superpixels.
        least: superpixels of fewer pixels are merged in any case.
    Returns:
        Labels int32 (H, W) from 0, and their number.
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
            a, b = find_root(parent, pixel), find_root(parent, other)
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
        root = find_root(parent, pixel)
        if number[root] < 0:
            number[root] = count
            count += 1
        labels[pixel] = number[root]
    return labels.reshape(height, width), count


@_jit
def neighbours(labels, count, weights, lab):
    """Build the graph of touching superpixels, with border statistics, colours and sizes.

    Args:
        labels, count: of ``superpixels``.
        weights: (2, H, W, 2), geometry and colour, of the edges to the right and down.
        lab: (H, W, 3), colours.
    Returns:
        Pairs (E, 2), the lower number first; sums (E, 3) over the border of each pair: length in
        pixels, geometry, colour; sums of the colours (N, 3); sizes (N,) in pixels.
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
    """Return the dissimilarity of two neighbours: geometry at the border, colour there and mean."""
    difference = 0.0
    for channel in range(3):
        difference += (colors[a, channel] / sizes[a] - colors[b, channel] / sizes[b]) ** 2
    whole = np.sqrt(difference) / color_unit
    border = sums[2] / sums[0]
    color = np.sqrt(whole * border)  # shading changes only the mean, texture only the border
    ease = min(1.0, (min(sizes[a], sizes[b]) / small) ** 0.5)
    return (sums[1] / sums[0] + color) * ease


@_jit
def merge(pairs, sums, colors, sizes, limits, color_unit, small, least, thin):
    """Merge neighbours, most similar first, until no pair is similar enough.

    Args:
        pairs, sums, colors, sizes: of ``neighbours``; they are overwritten.
        limits: (L,) ascending, largest dissimilarity of merged neighbours.
        color_unit: colour difference that counts as 1.
        small: regions of fewer pixels are merged more easily.
        least: regions of fewer pixels are merged in any case, ...
        thin: ... and those with fewer pixels per border pixel.
    Returns:
        For each limit the region of each superpixel (L, N), as the number of one of its members.
    """
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
            for e in range(edges):  # b's neighbours become a's; parallel edges are added up
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
            result[level, i] = find_root(parent, i)
    return result
