"""Compiled loop of the fusion of depth images: what the other frames say of each pixel's point."""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, error_model="numpy")
def judge(depths, trust, lenses, T, same_share, same_m, nearest, support, against, mean):
    """Fill for each pixel of each of V frames what the others say, (V, H, W) each.

    ``support`` is the trust of those that have a surface there, ``against`` that of those that see
    through it, ``mean`` the mean depth of the supporters and itself, weighted by trust.

    Args:
        depths: float32 (V, H, W), metres, 0 = none. trust: float32 (V, H, W), from 0 on.
        lenses: float64 (V, 4). T: float64 (V, V, 4, 4), ``T[j, i]`` takes points of i into j.
    """
    V, H, W = depths.shape
    for i in range(V):
        fx, fy, cx, cy = lenses[i]
        for v in range(H):
            for u in range(W):
                z = depths[i, v, u]
                support[i, v, u] = against[i, v, u] = 0
                mean[i, v, u] = z
                if z <= 0:
                    continue
                x, y = (u - cx) / fx * z, (v - cy) / fy * z
                own = trust[i, v, u] + np.float32(1e-3)
                total, weight = z * own, own
                for j in range(V):
                    if j == i:
                        continue
                    M = T[j, i]
                    far = M[2, 0] * x + M[2, 1] * y + M[2, 2] * z + M[2, 3]
                    if far <= nearest:
                        continue
                    a = M[0, 0] * x + M[0, 1] * y + M[0, 2] * z + M[0, 3]
                    b = M[1, 0] * x + M[1, 1] * y + M[1, 2] * z + M[1, 3]
                    p = int(np.floor(a / far * lenses[j, 0] + lenses[j, 2] + 0.5))
                    q = int(np.floor(b / far * lenses[j, 1] + lenses[j, 3] + 0.5))
                    if p < 0 or q < 0 or p >= W or q >= H or depths[j, q, p] <= 0:
                        continue
                    their = depths[j, q, p]
                    gap = their - far
                    limit = same_m + same_share * far
                    if abs(gap) <= limit:
                        support[i, v, u] += trust[j, q, p]
                        # Moving the point along their ray by gap moves it in i by about as much,
                        # times the cosine of the two axes; the exact point is looked up instead.
                        N = T[i, j]
                        c = (p - lenses[j, 2]) / lenses[j, 0] * their
                        d = (q - lenses[j, 3]) / lenses[j, 1] * their
                        back = N[2, 0] * c + N[2, 1] * d + N[2, 2] * their + N[2, 3]
                        if abs(back - z) <= same_m + same_share * z:
                            total += back * trust[j, q, p]
                            weight += trust[j, q, p]
                    elif gap > 0:
                        against[i, v, u] += trust[j, q, p]
                mean[i, v, u] = total / weight
