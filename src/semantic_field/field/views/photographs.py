"""Photographs of surface points: colour and label of each from all keyframes that see it."""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import numpy as np
from numba import njit

from semantic_field.field.views.asking import FAR, ONE, ZERO
from semantic_field.field.views.blending import (
    FIELD_DEPTH,
    FIELD_LABEL,
    LONGEST_MOVE,
    collect,
    mixed,
    project_inside,
    winner,
)
from semantic_field.field.views.facing import ask_facing
from semantic_field.field.views.seeing import tolerance

SHARPNESS = 3  # a weight is multiplied with this power of its share of the best weight
SURE = np.float32(0.95)  # trust in the keyframes from which on the field's colour is not mixed in
_jit = njit(nogil=True, cache=True, error_model="numpy")


@_jit
def photographed(
    points, normals, detail_m, lenses, images, hiding, exposure, class_ids, color, trust, label
):
    """Fill colours and labels of N points from K keyframes.

    Args:
        images, exposure, class_ids: as in ``blending.blend``. hiding: as in ``ask_facing``.
        color: float32 (N, 3), filled with the mean colour, 0..255, times ``trust``.
        trust: float32 (N,), filled: 1 where the keyframes suffice, 0 where none sees the point.
        label: int32 (N,), the field's; replaced by that with most votes. Length 0: no votes.
    """
    colors, _, labels = images
    K, n = len(lenses.width), len(points)
    found, answers = np.empty((K, 6, n), np.float32), np.empty((4, K, n), np.float32)
    shown, votes, past, off = answers[0], answers[1], answers[2], answers[3]
    names, ballots = np.empty(K + 1, np.int32), np.empty(K + 1, np.float32)
    ask_facing(points, normals, detail_m, lenses, images, hiding, found, shown, votes, past, off)
    x, y, z = _settled(points, normals, lenses.position, found, votes, off)
    for k in range(K):
        if votes[k].max() > ZERO:
            project_inside(x, y, z, lenses, k, found[k])
    for j in range(n):
        if len(label):
            names[0], ballots[0] = label[j], FIELD_LABEL
            count = collect(j, found, votes, lenses.width, labels, class_ids, names, ballots)
            label[j], _, _ = winner(names, ballots, count)
        _sharpen(shown, j)
        best, seen = ZERO, ZERO
        for k in range(len(shown)):
            best, seen = max(best, shown[k, j]), seen + votes[k, j]
        red, green, blue, share = mixed(j, found, shown, best, seen, lenses, colors, exposure)
        more = ONE / max(share, SURE)
        color[j, 0], color[j, 1], color[j, 2] = red * more, green * more, blue * more
        trust[j] = share * more


@_jit
def _settled(points, normals, position, found, votes, off):
    """Coordinates of the points, moved along their normals to the keyframes' readings."""
    n = len(points)
    x, y, z = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    for j in range(n):
        p, normal = points[j], normals[j]
        change, seen, nearest = ZERO, FIELD_DEPTH, np.float32(np.inf)
        for k in range(len(votes)):
            if votes[k, j] > ZERO:
                along = (
                    (p[0] - position[k, 0]) * normal[0]
                    + (p[1] - position[k, 1]) * normal[1]
                    + (p[2] - position[k, 2]) * normal[2]
                )
                change += votes[k, j] * off[k, j] * along
                seen += votes[k, j]
                nearest = min(nearest, found[k, FAR, j])
        limit = LONGEST_MOVE * tolerance(nearest, ONE) if seen > FIELD_DEPTH else ZERO
        move = min(max(change / seen, -limit), limit)
        x[j], y[j], z[j] = p[0] + move * normal[0], p[1] + move * normal[1], p[2] + move * normal[2]
    return x, y, z


@_jit
def _sharpen(shown, j):
    """Prefer the best views of point j even more, so that its texture stays crisp."""
    best = ZERO
    for k in range(len(shown)):
        best = max(best, shown[k, j])
    if best > ZERO:
        for k in range(len(shown)):
            shown[k, j] *= (shown[k, j] / best) ** SHARPNESS
