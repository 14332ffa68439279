"""Splatting of depth readings into a target view on the processor; see ``target_depth``."""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import numpy as np
from numba import njit

ZERO, ONE, HALF = np.float32(0), np.float32(1), np.float32(0.5)
_jit = njit(nogil=True, cache=True, error_model="numpy")


@_jit
def project(depths, intrinsics, T, target, height, width, nearest_m, pixels, found):
    """Project the readings of V sources into a target of ``height`` x ``width`` pixels.

    Args:
        depths: float32 (V, h, w), z-depths in metres, 0 = none.
        intrinsics: float32 (V, 4), fx fy cx cy. T: float32 (V, 4, 4), source to target.
        target: float32 (4,), intrinsics of the target.
        nearest_m: readings nearer to the target's camera are left out.
        pixels: int32 (M,), filled with the numbers of the nearest pixels, row by row.
        found: float32 (M, 4), filled with z-depth, offsets in columns and rows from the pixel's
            centre, and half the edge of the reading in pixels of the target.
    Returns:
        The number of readings in the image.
    """
    count = 0
    for k in range(len(depths)):
        fx, fy, cx, cy = intrinsics[k]
        for i in range(depths.shape[1]):
            y = (np.float32(i) - cy) / fy
            for j in range(depths.shape[2]):
                z = depths[k, i, j]
                if not z > ZERO:
                    continue
                x = (np.float32(j) - cx) / fx
                far = (T[k, 2, 0] * x + T[k, 2, 1] * y + T[k, 2, 2]) * z + T[k, 2, 3]
                if not far > nearest_m:
                    continue
                px = (T[k, 0, 0] * x + T[k, 0, 1] * y + T[k, 0, 2]) * z + T[k, 0, 3]
                py = (T[k, 1, 0] * x + T[k, 1, 1] * y + T[k, 1, 2]) * z + T[k, 1, 3]
                u = px / far * target[0] + target[2]
                v = py / far * target[1] + target[3]
                if not (-HALF <= u < width - HALF and -HALF <= v < height - HALF):
                    continue
                column, row = int(u + HALF), int(v + HALF)
                pixels[count] = row * width + column
                found[count, 0] = far
                found[count, 1], found[count, 2] = u - column, v - row
                found[count, 3] = HALF * target[0] / fx * z / far
                count += 1
    return count


@_jit
def layer(pixels, found, before, width, same_share, same_m, large, beside, nearest, sums):
    """Find the nearest surface of each pixel that is behind ``before``.

    Args:
        pixels, found: of M readings, see ``project``. width: of the target, pixels.
        before: float32 (H * W,), z-depths of the surface before it, 0 = none.
        same_share, same_m: depths that differ by less are of one surface.
        large: readings of a larger edge (pixels) also cover neighbouring pixels, with the weight
            ``beside``.
        nearest: float32 (H * W,), filled with the mean depth of the surface; 0 where there is none.
        sums: float32 (H * W, 2), used for adding up.
    """
    far_share, none = ONE + same_share, np.float32(np.inf)
    nearest[:] = none
    for turn in range(3):  # the nearest reading; the mean around it; the mean around that
        sums[:] = ZERO
        for m in range(len(pixels)):
            column = pixels[m] % width
            reach = found[m, 3]
            side = 1 if reach * 2 > large else 0
            for dv in range(-side, side + 1):
                if abs(dv - found[m, 2]) > reach and dv != 0:
                    continue
                for du in range(-side, side + 1):
                    centre = du == 0 and dv == 0
                    covers = abs(du - found[m, 1]) <= reach and abs(dv - found[m, 2]) <= reach
                    if not (centre or covers):
                        continue
                    if not 0 <= column + du < width:
                        continue
                    place = pixels[m] + dv * width + du
                    if not 0 <= place < len(nearest):
                        continue
                    far, front = found[m, 0], before[place]
                    if front > ZERO and not far > front * far_share + same_m:
                        continue
                    if turn == 0:
                        nearest[place] = min(nearest[place], far)
                    elif far <= nearest[place] * far_share + same_m:
                        weight = ONE if centre else beside
                        sums[place, 0] += weight * far
                        sums[place, 1] += weight
        if turn > 0:
            for place in range(len(nearest)):
                if sums[place, 1] > ZERO:
                    nearest[place] = sums[place, 0] / sums[place, 1]
    for place in range(len(nearest)):
        if nearest[place] == none:
            nearest[place] = ZERO
