"""Blending of keyframe images on a surface: colours are averaged, labels vote.

Rows of a view are blended one at a time. Each keyframe is asked about the row's surface, which its
readings then move along the viewing rays; colours and labels are read at the moved surface.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import numpy as np
from numba import njit

from semantic_field.field.views.asking import DOUBTED, ONE, ZERO, ask_all
from semantic_field.field.views.seeing import nearest_pixel, projected, tolerance

FIELD_DEPTH = np.float32(0.3)  # weight of the field's depth beside readings; a full view has 1
FIELD_COLOR = np.float32(0.02)  # of the field's colour
FIELD_LABEL = np.float32(0.1)  # of the field's label
LEAST_SEEN = np.float32(1e-3)  # a surface with fewer votes of keyframes counts as not seen
NEGLIGIBLE = np.float32(0.02)  # colours with less than this share of the best weight are not read
LONGEST_MOVE = np.float32(2)  # of the tolerance: readings do not move the surface further
SEEN, AGAINST, BEST, CHANGE = range(4)  # rows of the sums over keyframes
FLATTEST_SLOPE = np.float32(-0.1)  # between ray and surface
_jit = njit(nogil=True, cache=True, error_model="numpy")
_inline = njit(inline="always", error_model="numpy")


@_jit
def blend(
    start, stop, rays, depth, normal, rotation, color, label, lenses, images, exposure, class_ids,
    focal, confidence,
):  # fmt: skip
    """Blend rows start..stop in place.

    Args:
        rays: x / z of each column and y / z of each row.
        depth, color, label: of the field, float32 (H, W), uint8 (H, W, 3) and int32 (H, W);
            replaced by the blended ones. Pixels of depth 0 are left as they are.
        normal: float32 (H, W, 3), map axes. rotation: float32 (3, 3), of these to the camera's.
        images: colours, depths and label rows of K keyframes.
        exposure: float32 (K, 3, 2), what turns colours of a keyframe into those of the view.
        class_ids: int32 (C,), the class of each label row. focal: of the view, pixels.
        confidence: float32 (H, W), of the field; replaced by the share of the votes that the
            label got where keyframes see the surface.
    """
    colors, depths, labels = images
    K, columns = len(lenses.width), depth.shape[1]
    x, y = np.empty(columns, np.float32), np.empty(columns, np.float32)
    turned, found = np.empty((3, columns), np.float32), np.empty((K, 6, columns), np.float32)
    shown, votes = np.empty((K, columns), np.float32), np.empty((K, columns), np.float32)
    past, off = np.empty((K, columns), np.float32), np.empty((K, columns), np.float32)
    sums = np.empty((4, columns), np.float32)
    names, ballots = np.empty(K + 1, np.int32), np.empty(K + 1, np.float32)
    for i in range(start, stop):
        z = depth[i]
        _row(rays[0], rays[1][i], z, normal[i], rotation, x, y, turned)
        ask_all(
            x, y, z, turned, lenses, depths, labels, focal, DOUBTED, found, shown, votes, past, off
        )
        _add_up(x, y, z, turned, lenses.position, shown, votes, past, off, sums)
        _move(rays[0], rays[1][i], z, turned, sums, x, y)
        for k in range(K):
            project_inside(x, y, z, lenses, k, found[k])
        for j in range(columns):
            if z[j] > ZERO:
                names[0], ballots[0] = label[i, j], FIELD_LABEL
                count = collect(j, found, votes, lenses.width, labels, class_ids, names, ballots)
                label[i, j], most, total = winner(names, ballots, count)
                if sums[SEEN, j] > LEAST_SEEN:
                    confidence[i, j] = most / (total + sums[AGAINST, j])
                best, seen = sums[BEST, j], sums[SEEN, j]
                red, green, blue, trust = mixed(
                    j, found, shown, best, seen, lenses, colors, exposure
                )
                color[i, j, 0] = to_byte(red + (ONE - trust) * color[i, j, 0])
                color[i, j, 1] = to_byte(green + (ONE - trust) * color[i, j, 1])
                color[i, j, 2] = to_byte(blue + (ONE - trust) * color[i, j, 2])


@_jit
def _row(rays_x, ray_y, z, normal, rotation, x, y, turned):
    """Fill points x, y and normals (3, W) of a row, in the camera's axes."""
    for j in range(len(z)):
        x[j], y[j] = rays_x[j] * z[j], ray_y * z[j]
    for axis in range(3):
        a, b, c = rotation[axis, 0], rotation[axis, 1], rotation[axis, 2]
        for j in range(len(z)):
            turned[axis, j] = a * normal[j, 0] + b * normal[j, 1] + c * normal[j, 2]


@_jit
def _add_up(x, y, z, normal, position, shown, votes, past, off, sums):
    """Fill ``sums`` (4, W) of a row over all keyframes.

    Its rows: votes of those that see the pixel and of those that look through it; the best weight
    of a colour; and by how much readings, weighted, differ from the surface along its normal.
    """
    sums[:] = ZERO
    for k in range(len(votes)):
        px, py, pz = position[k, 0], position[k, 1], position[k, 2]
        for j in range(len(z)):
            sums[SEEN, j] += votes[k, j]
            sums[AGAINST, j] += past[k, j]
            sums[BEST, j] = max(sums[BEST, j], shown[k, j])
            across = (
                (x[j] - px) * normal[0, j] + (y[j] - py) * normal[1, j] + (z[j] - pz) * normal[2, j]
            )
            sums[CHANGE, j] += votes[k, j] * off[k, j] * across


@_jit
def _move(rays_x, ray_y, z, normal, sums, x, y):
    """Move the depths z of a row, and x and y, to the mean reading of the keyframes that see it.

    The surface, taken for a plane, is moved along its normal; its depth changes along the ray.
    """
    for j in range(len(z)):
        slope = min(normal[0, j] * rays_x[j] + normal[1, j] * ray_y + normal[2, j], FLATTEST_SLOPE)
        change = sums[CHANGE, j] / ((sums[SEEN, j] + FIELD_DEPTH) * slope)
        limit = LONGEST_MOVE * tolerance(z[j], ONE)
        z[j] += min(max(change, -limit), limit)
        x[j], y[j] = rays_x[j] * z[j], ray_y * z[j]


@_jit
def project_inside(x, y, z, lenses, k, found):
    """Fill the first two rows of ``found`` with pixel coordinates in keyframe k, inside it."""
    last_u, last_v = lenses.last[k, 0], lenses.last[k, 1]
    for j in range(len(z)):
        u, v, _ = projected(lenses.matrix, k, x[j], y[j], z[j])
        found[0, j] = min(max(u, ZERO), last_u)
        found[1, j] = min(max(v, ZERO), last_v)


@_jit
def mixed(j, found, shown, best, seen, lenses, colors, exposure):
    """The mean colour of a pixel over the keyframes that show it, times trust; and the trust.

    Args:
        best: the highest of its weights ``shown``. seen: the sum of its votes.
    """
    red, green, blue, total = ZERO, ZERO, ZERO, ZERO
    if best == ZERO:
        return red, green, blue, total
    for k in range(len(shown)):
        w = shown[k, j]
        if w <= NEGLIGIBLE * best:
            continue
        u, v = found[k, 0, j], found[k, 1, j]
        left, top = int(u), int(v)
        s, t = u - np.float32(left), v - np.float32(top)
        right = 1 if np.float32(left) < lenses.last[k, 0] else 0
        p = top * lenses.width[k] + left
        q = p + lenses.width[k] if np.float32(top) < lenses.last[k, 1] else p
        a, b, c, d = (ONE - s) * (ONE - t), s * (ONE - t), (ONE - s) * t, s * t
        total += w
        red += w * (exposure[k, 0, 1] + exposure[k, 0, 0] * (
            a * colors[k, p, 0] + b * colors[k, p + right, 0]
            + c * colors[k, q, 0] + d * colors[k, q + right, 0]))  # fmt: skip
        green += w * (exposure[k, 1, 1] + exposure[k, 1, 0] * (
            a * colors[k, p, 1] + b * colors[k, p + right, 1]
            + c * colors[k, q, 1] + d * colors[k, q + right, 1]))  # fmt: skip
        blue += w * (exposure[k, 2, 1] + exposure[k, 2, 0] * (
            a * colors[k, p, 2] + b * colors[k, p + right, 2]
            + c * colors[k, q, 2] + d * colors[k, q + right, 2]))  # fmt: skip
    trust = seen / (seen + FIELD_COLOR)
    share = trust / total
    return red * share, green * share, blue * share, trust


@_inline
def to_byte(value):
    return np.uint8(min(max(value + np.float32(0.5), ZERO), np.float32(255)))


@_jit
def collect(j, found, votes, width, labels, class_ids, names, ballots):
    """Append the labels of the keyframes that see a pixel, and their votes; returns the count."""
    count = 1
    for k in range(len(votes)):
        if votes[k, j] > ZERO:
            row = labels[k, nearest_pixel(found[k, 0, j], found[k, 1, j], width[k])]
            if row >= 0:
                names[count], ballots[count] = class_ids[row], votes[k, j]
                count += 1
    return count


@_jit
def winner(names, ballots, count):
    """The name with most votes among ``count``, its votes, and the sum of all."""
    total = ZERO
    for a in range(count):
        total += ballots[a]
    best, most = names[0], ZERO
    for a in range(count):
        if names[a] == best and most > ZERO:
            continue
        own = ZERO
        for b in range(count):
            if names[b] == names[a]:
                own += ballots[b]
        if own > most:
            best, most = names[a], own
    return best, most, total
