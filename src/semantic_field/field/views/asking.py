"""What keyframes say about points of a surface: whether they see them, and how well.

Weights are products of what makes a photograph of a point similar to what the target view would
show: the angle between the two viewing rays, the resolution, the incidence, the distance from the
image's border, the trust in the keyframe, and the agreement with its own depth reading.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import numpy as np
from numba import njit

from semantic_field.field.views.seeing import (
    NEAREST_M,
    NO_READING,
    filled_in,
    nearest_pixel,
    reading,
    tolerance,
)

ONE, ZERO, HALF = np.float32(1), np.float32(0), np.float32(0.5)
COLOR_SINE2 = np.float32(0.0005)  # sin^2 of the angle between two rays at which colours weigh half
LABEL_SINE2 = np.float32(0.1)  # the same for labels, which do not depend on the direction
UNREAD = np.float32(0.5)  # weight of a pixel without depth reading: nothing proves that it sees
BEHIND = np.float32(0.1)  # the same where the depth that was filled in is nearer: it may be hidden
CLEARLY = np.float32(6)  # tolerances by which it must be nearer for that
DOUBTED = np.float32(0.05)  # weight in blending where readings differ by more than the tolerance
SLACK = np.float32(2)  # tolerances up to which they are only doubted
OFF_SHARE = np.float32(0.8)  # of the weight that is lost where depths differ by the tolerance
PER_BORDER = np.float32(40)  # weight per distance from an image's border, in widths, up to 1
PER_COSINE = np.float32(2)  # weight per cosine of incidence, up to 1
TINY = np.float32(1e-9)
U, V, FAR, COLOR, LABEL, COSINE = range(6)  # rows of the results of ``look``
_jit = njit(nogil=True, cache=True, error_model="numpy")
_inline = njit(inline="always", error_model="numpy")


@_jit
def look(x, y, z, normal, lenses, k, focal, found):
    """Fill ``found`` (6, N) with how well keyframe k would show N points if nothing hid them.

    Rows of ``found``: pixel coordinates and z-depth in the keyframe; weights of its colour and of
    its label, 0 outside the image or if seen from behind; cosine of incidence. The loop has no
    branches and few arrays, so that it is compiled to vector instructions.

    Args:
        x, y, z: float32 (N,), coordinates in the target camera's axes, metres, z = 0 for none.
        normal: float32 (3, N), unit normals in the same axes.
        focal: focal length of the target camera, pixels.
    """
    m = lenses.matrix[k]
    m00, m01, m02, m03 = m[0, 0], m[0, 1], m[0, 2], m[0, 3]
    m10, m11, m12, m13 = m[1, 0], m[1, 1], m[1, 2], m[1, 3]
    m20, m21, m22, m23 = m[2, 0], m[2, 1], m[2, 2], m[2, 3]
    px, py, pz = lenses.position[k, 0], lenses.position[k, 1], lenses.position[k, 2]
    last_u, last_v, trust = lenses.last[k, 0], lenses.last[k, 1], lenses.trust[k]
    scale, nearest = lenses.focal[k] / focal, np.float32(NEAREST_M)
    per_pixel = PER_BORDER / (last_u + ONE)
    for j in range(len(z)):
        far = m20 * x[j] + m21 * y[j] + m22 * z[j] + m23
        inverse = ONE / far
        u = (m00 * x[j] + m01 * y[j] + m02 * z[j] + m03) * inverse
        v = (m10 * x[j] + m11 * y[j] + m12 * z[j] + m13) * inverse
        ax, ay, az = x[j] - px, y[j] - py, z[j] - pz
        apart = ax * ax + ay * ay + az * az + TINY
        along = max(x[j] * ax + y[j] * ay + z[j] * az, ZERO)
        here = x[j] * x[j] + y[j] * y[j] + z[j] * z[j] + TINY
        sine2 = max(ONE - along * along / (apart * here), ZERO)
        cosine = -(normal[0, j] * ax + normal[1, j] * ay + normal[2, j] * az) / np.sqrt(apart)
        border = min(min(u, v), min(last_u - u, last_v - v)) + HALF
        inside = min(max(border * per_pixel, ZERO), ONE)
        detail = min(scale * z[j] / max(far, nearest), ONE)
        weight = trust * inside * detail * detail * min(cosine * PER_COSINE, ONE)
        weight = weight if cosine > ZERO and far > nearest and z[j] > ZERO else ZERO
        found[U, j], found[V, j], found[FAR, j] = u, v, far
        found[COLOR, j] = weight * COLOR_SINE2 / (COLOR_SINE2 + sine2)
        found[LABEL, j] = weight * LABEL_SINE2 / (LABEL_SINE2 + sine2)
        found[COSINE, j] = cosine


@_inline
def asked(found, k, j, depths, labels, width, doubted):
    """Compare point j with the depth reading of keyframe k; ``found`` (K, 6, N) is from ``look``.

    Args:
        doubted: factor of the weights where the reading differs by one to ``SLACK`` tolerances.
    Returns:
        the weights of its colour and its label, 0 if the keyframe does not see the point; the
        weight with which it looks through the point; and the difference between its reading and
        the point's depth, divided by the depth.
    """
    color, label, far = found[k, COLOR, j], found[k, LABEL, j], found[k, FAR, j]
    if not label > ZERO:
        return ZERO, ZERO, ZERO, ZERO
    pixel = nearest_pixel(found[k, U, j], found[k, V, j], width[k])
    read, most = reading(depths, labels, k, pixel), tolerance(far, found[k, COSINE, j])
    if read < ZERO:
        return ZERO, ZERO, ZERO, ZERO
    if read == NO_READING:
        guess = filled_in(depths, k, pixel)
        kept = BEHIND if guess > ZERO and far - guess > CLEARLY * most else UNREAD
        return color * kept, label * kept, ZERO, ZERO
    off = read - far
    if doubted > ZERO and most < abs(off) <= SLACK * most:
        return color * doubted, label * doubted, ZERO, ZERO
    if off > most:
        return ZERO, ZERO, label, ZERO
    if off < -most:
        return ZERO, ZERO, ZERO, ZERO
    share = off / most
    kept = ONE - OFF_SHARE * share * share
    return color * kept, label * kept, ZERO, off / far


@_jit
def ask_all(
    x, y, z, normal, lenses, depths, labels, focal, doubted, found, shown, votes, past, off
):  # fmt: skip
    """Ask all K keyframes that have some trust about N points: ``look`` and ``asked``.

    Args:
        doubted: see ``asked``; 0 where surfaces are judged, ``DOUBTED`` where they are painted.
        found: (K, 6, N), filled by ``look``.
        shown, votes, past, off: (K, N), filled with the results of ``asked``.
    """
    for k in range(len(lenses.width)):
        if lenses.trust[k] == ZERO:
            shown[k], votes[k], past[k], off[k] = ZERO, ZERO, ZERO, ZERO
            continue
        look(x, y, z, normal, lenses, k, focal, found[k])
        for j in range(len(z)):
            shown[k, j], votes[k, j], past[k, j], off[k, j] = asked(
                found, k, j, depths, labels, lenses.width, doubted
            )


@_jit
def named_points(found, votes, labels, lenses):
    """Votes (K, N) of keyframes where the pixel at which they see a point has a label, else 0.

    Args:
        found, votes: results of ``ask_all``.
    """
    named = np.zeros_like(votes)
    for k in range(votes.shape[0]):
        for j in range(votes.shape[1]):
            if votes[k, j] > ZERO:
                pixel = nearest_pixel(found[k, 0, j], found[k, 1, j], lenses.width[k])
                if labels[k, pixel] >= 0:
                    named[k, j] = votes[k, j]
    return named
