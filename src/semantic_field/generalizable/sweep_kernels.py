"""Compiled loops of the plane sweep: agreement of a frame with its neighbours, and its gradient.

A neighbour's feature is never written down: its four pixels about a point are multiplied with the
reference's feature where they lie. Maps have channels last, so that these products are of
contiguous numbers.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import numpy as np
from numba import njit

_jit = njit(nogil=True, cache=True, error_model="numpy", fastmath=True)


@_jit
def _place(turned, shift, u, v, inverse, width, height, nearest):
    """Return column and row of a point in a neighbour, and whether its image has it.

    ``turned`` (3, 3) and ``shift`` (3,): homogeneous pixel = turned (u, v, 1) + shift / depth.
    """
    z = turned[2, 0] * u + turned[2, 1] * v + turned[2, 2] + shift[2] * inverse
    if z <= nearest * inverse:  # z is the neighbour's depth over the reference's
        return np.float32(0), np.float32(0), False
    x = (turned[0, 0] * u + turned[0, 1] * v + turned[0, 2] + shift[0] * inverse) / z
    y = (turned[1, 0] * u + turned[1, 1] * v + turned[1, 2] + shift[1] * inverse) / z
    half = np.float32(0.5)
    inside = x >= -half and x < width - half and y >= -half and y < height - half
    return x, y, inside


@_jit
def _corner(x, y, width, height):
    """Return column and row of the first of four pixels about a place, and the shares beyond it."""
    x = min(max(x, np.float32(0)), np.float32(width - 1))
    y = min(max(y, np.float32(0)), np.float32(height - 1))
    u0 = min(int(x), width - 2)
    v0 = min(int(y), height - 2)
    return u0, v0, x - np.float32(u0), y - np.float32(v0)


@_jit
def correlate(reference, others, turned, shift, first, ratios, nearest, best, total, count, winner):
    """Fill what the neighbours say of each point, (h, w, D) each.

    ``best`` and ``total`` are the largest product of features and their sum, ``count`` (uint8) the
    number of neighbours that have the point in their image, ``winner`` (int8) whose product is
    the largest; all 0, and -1, where none has it.

    Args:
        reference: float32 (h, w, C). others: float32 (n, h2, w2, C).
        first: float32 (h, w), inverse depth of the first plane, 1/m. ratios: float32 (D,), of
            the planes' inverse depths to it.
    """
    height, width, channels = reference.shape
    h2, w2 = others.shape[1:3]
    one = np.float32(1)
    for v in range(height):
        for u in range(width):
            own = reference[v, u]
            for d in range(len(ratios)):
                best[v, u, d] = total[v, u, d] = 0
                count[v, u, d] = 0
                winner[v, u, d] = -1
            for i in range(len(others)):
                image = others[i]
                for d in range(len(ratios)):
                    inverse = first[v, u] * ratios[d]
                    x, y, inside = _place(
                        turned[i], shift[i], np.float32(u), np.float32(v), inverse, w2, h2, nearest
                    )
                    if not inside:
                        continue
                    u0, v0, a, b = _corner(x, y, w2, h2)
                    p00, p01 = (one - a) * (one - b), a * (one - b)
                    p10, p11 = (one - a) * b, a * b
                    q00, q01 = image[v0, u0], image[v0, u0 + 1]
                    q10, q11 = image[v0 + 1, u0], image[v0 + 1, u0 + 1]
                    product = np.float32(0)
                    for c in range(channels):
                        product += own[c] * (
                            p00 * q00[c] + p01 * q01[c] + p10 * q10[c] + p11 * q11[c]
                        )
                    if winner[v, u, d] < 0 or product > best[v, u, d]:
                        best[v, u, d] = product
                        winner[v, u, d] = i
                    total[v, u, d] += product
                    count[v, u, d] += 1


@_jit
def correlate_back(
    reference, others, turned, shift, first, ratios, nearest,
    best_slope, total_slope, winner, least, own_slope, their_slope,
):  # fmt: skip
    """Add the gradients of both maps, from those of ``best`` and ``total``.

    Args:
        least: smaller gradients of a product are left out.
    """
    height, width, channels = reference.shape
    h2, w2 = others.shape[1:3]
    one = np.float32(1)
    for i in range(len(others)):
        image = others[i]
        theirs = their_slope[i]
        for v in range(height):
            for u in range(width):
                own = reference[v, u]
                mine = own_slope[v, u]
                for d in range(len(ratios)):
                    g = total_slope[v, u, d]
                    if winner[v, u, d] == i:
                        g += best_slope[v, u, d]
                    if abs(g) <= least:
                        continue
                    inverse = first[v, u] * ratios[d]
                    x, y, inside = _place(
                        turned[i], shift[i], np.float32(u), np.float32(v), inverse, w2, h2, nearest
                    )
                    if not inside:
                        continue
                    u0, v0, a, b = _corner(x, y, w2, h2)
                    p00, p01 = g * (one - a) * (one - b), g * a * (one - b)
                    p10, p11 = g * (one - a) * b, g * a * b
                    q00, q01 = image[v0, u0], image[v0, u0 + 1]
                    q10, q11 = image[v0 + 1, u0], image[v0 + 1, u0 + 1]
                    t00, t01 = theirs[v0, u0], theirs[v0, u0 + 1]
                    t10, t11 = theirs[v0 + 1, u0], theirs[v0 + 1, u0 + 1]
                    for c in range(channels):
                        o = own[c]
                        mine[c] += p00 * q00[c] + p01 * q01[c] + p10 * q10[c] + p11 * q11[c]
                        t00[c] += p00 * o
                        t01[c] += p01 * o
                        t10[c] += p10 * o
                        t11[c] += p11 * o
