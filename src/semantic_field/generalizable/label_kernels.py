"""Compiled loops that bring labels from one image to another, and let neighbours vote."""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import numpy as np
from numba import njit

ZERO, HALF = np.float32(0), np.float32(0.5)
_jit = njit(nogil=True, cache=True, error_model="numpy")


@_jit
def bring(depth, lens, T, old_depth, old_lens, old_labels, same, unread, start, stop, out):
    """Look up in an older image what the surfaces of an image were called there.

    Args:
        depth: float32 (H, W), z-depths of the image, metres, 0 = none. lens: float32 (4,), fx fy
            cx cy. T: float32 (3, 4), from its camera to the older one.
        old_depth: float32 (h, w). old_lens: float32 (4,). old_labels: int32 (h, w), -1 = none.
        same: float32 (2,), tolerance of depth: metres, and share of the depth.
        unread: weight of a label where the older image has no reading.
        start, stop: rows that are looked up.
        out: ``labels`` int32 (H, W) and ``weights`` float32 (H, W), how sure it is that the older
            image shows the same surface; -1 and 0 where it does not.
    """
    labels, weights = out
    height, width = old_depth.shape
    for i in range(start, stop):
        y = (np.float32(i) - lens[3]) / lens[1]
        for j in range(depth.shape[1]):
            labels[i, j], weights[i, j] = -1, ZERO
            z = depth[i, j]
            x = (np.float32(j) - lens[2]) / lens[0]
            far = (T[2, 0] * x + T[2, 1] * y + T[2, 2]) * z + T[2, 3]
            if not (z > ZERO and far > same[0]):
                continue
            px = (T[0, 0] * x + T[0, 1] * y + T[0, 2]) * z + T[0, 3]
            py = (T[1, 0] * x + T[1, 1] * y + T[1, 2]) * z + T[1, 3]
            u = px / far * old_lens[0] + old_lens[2]
            v = py / far * old_lens[1] + old_lens[3]
            if not (-HALF <= u < width - HALF and -HALF <= v < height - HALF):
                continue
            row, column = int(v + HALF), int(u + HALF)
            label, reading = old_labels[row, column], old_depth[row, column]
            if label < 0:
                continue
            weight = unread
            if reading > ZERO:
                off = (reading - far) / (same[0] + same[1] * far)
                weight = np.exp(np.float32(-2) * off * off)
            labels[i, j], weights[i, j] = label, weight


@_jit
def vote(labels, weights, color, reach, step, table, per_step, n_classes, start, stop, out):
    """Let the pixels about each one vote for its label, as far as they have its colour.

    Args:
        labels: int32 (H, W), rows of classes, -1 = none. weights: float32 (H, W).
        color: float32 (H, W, 3).
        reach, step: neighbours are up to so many steps away, of so many pixels each.
        table: float32 (2, M): weights by squared distance of colour, ``per_step`` entries for each
            unit of it, and by squared distance in steps.
        start, stop: rows that are voted on.
        out: ``labels`` int32 (H, W) and ``share`` float32 (H, W) of the votes for them, those of
            neighbours without a label included.
    """
    found, share = out
    height, width = labels.shape
    votes = np.empty(n_classes, np.float32)
    for i in range(start, stop):
        for j in range(width):
            votes[:] = ZERO
            total = ZERO
            for di in range(-reach, reach + 1):
                row = min(max(i + di * step, 0), height - 1)
                for dj in range(-reach, reach + 1):
                    column = min(max(j + dj * step, 0), width - 1)
                    off = ZERO
                    for k in range(3):
                        apart = color[row, column, k] - color[i, j, k]
                        off += apart * apart
                    entry = int(off * per_step)
                    if entry >= table.shape[1]:
                        continue
                    weight = table[0, entry] * table[1, di * di + dj * dj]
                    total += weight
                    label = labels[row, column]
                    if label >= 0:
                        votes[label] += weight * weights[row, column]
            best = 0
            for k in range(1, n_classes):
                if votes[k] > votes[best]:
                    best = k
            found[i, j], share[i, j] = -1, ZERO
            if votes[best] > ZERO:
                found[i, j], share[i, j] = best, votes[best] / total
