"""Sphere tracing of a field's signed distance in Triton: one program traces a block of rays.

Rays advance from voxel to voxel in use (``triton_walk``), and there by steps of the distance, which
grid and trunk give within the same kernel; only the depth that was found is written to memory.
"""

# Compiled functions carry no annotations but constants, and Triton is not installed everywhere.
# pyright: basic, reportMissingImports=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
import triton
import triton.language as tl

from semantic_field.kernels.triton_grid import axis, interpolated
from semantic_field.kernels.triton_walk import enter, next_voxel, start_of

BLOCK, WARPS = 32, 2  # rays per program; 16 rays per warp were fastest on an H200


@triton.jit
def _columns(
    x, y, z, inside, table, scales, masks, level: tl.constexpr, count: tl.constexpr,
    levels: tl.constexpr, size: tl.constexpr, features: tl.constexpr, padded: tl.constexpr,
):  # fmt: skip
    """Return the features (N, padded * count) of ``count`` levels from ``level`` on.

    Zeros beyond the last level. Columns are interleaved by ``tl.join``: see ``column_order``.
    """
    if count > 1:
        half: tl.constexpr = count // 2
        upper: tl.constexpr = level + half
        one = _columns(
            x, y, z, inside, table, scales, masks, level, half, levels, size, features, padded
        )
        other = _columns(
            x, y, z, inside, table, scales, masks, upper, half, levels, size, features, padded
        )
        return tl.reshape(tl.join(one, other), (x.shape[0], padded * count))
    elif level >= levels:
        return tl.zeros((x.shape[0], padded), tl.float32)
    else:
        scale = tl.load(scales + level)
        i, fx = axis(x * scale)
        j, fy = axis(y * scale)
        k, fz = axis(z * scale)
        entries, block_mask = table + level * size * features, tl.load(masks + level)
        return interpolated(i, j, k, fx, fy, fz, entries, inside, block_mask, features, padded)


def column_order(level: int, feature: int, count: int) -> int:
    """Return the column of ``_columns`` that holds a feature of a level."""
    column = feature
    while count > 1:
        column, level, count = 2 * column + (level & 1), level >> 1, count >> 1
    return column


@triton.jit
def trace(
    origin, directions, low, shape, index, counts, table, scales, masks, first, bias, second, hit,
    number, near, far, per_metre, truncation, last_bias,
    levels: tl.constexpr, level_room: tl.constexpr, size: tl.constexpr, features: tl.constexpr,
    padded: tl.constexpr, hidden: tl.constexpr, waves: tl.constexpr, share: tl.constexpr,
    extra: tl.constexpr, bracket: tl.constexpr, nudge: tl.constexpr, never: tl.constexpr,
    block: tl.constexpr,
):  # fmt: skip
    """Sphere-trace rays through used voxels; ``hit`` gets the ray parameter, inf = no hit."""
    n = tl.program_id(0) * block + tl.arange(0, block)
    h = tl.arange(0, hidden)
    column = tl.arange(0, padded * level_room)
    weights = tl.load(first + column[:, None] * hidden + h[None])
    biases, last = tl.load(bias + h)[None], tl.load(second + h)[None]
    alive = n < number
    wx, wy, wz = tl.load(origin), tl.load(origin + 1), tl.load(origin + 2)
    ux = tl.load(directions + 3 * n, alive, 0.0)
    uy = tl.load(directions + 3 * n + 1, alive, 0.0)
    uz = tl.load(directions + 3 * n + 2, alive, 0.0)
    stretch = tl.where(alive, tl.sqrt_rn(ux * ux + uy * uy + uz * uz), 1.0)
    ox, oy, oz = start_of(origin, low, per_metre)
    dx, dy, dz = ux * per_metre, uy * per_metre, uz * per_metre
    t = tl.full((block,), near, tl.float32)
    t, end = enter(ox, oy, oz, dx, dy, dz, shape, t, far, nudge, never)
    found = tl.full((block,), float("inf"), tl.float32)
    last_t, last_s = t, found
    wave = 0
    while (tl.max(alive.to(tl.int32), 0) > 0) & (wave < waves):
        t = next_voxel(
            ox, oy, oz, dx, dy, dz, t, end, alive, shape, index, counts, nudge, never
        )  # fmt: skip
        alive = alive & (t < float("inf"))
        t = tl.where(alive, t, 0.0)
        features_here = _columns(
            wx + t * ux, wy + t * uy, wz + t * uz, alive, table, scales, masks, 0, level_room,
            levels, size, features, padded,
        )  # fmt: skip
        code = tl.maximum(tl.dot(features_here, weights, input_precision="tf32x3") + biases, 0.0)
        s = (tl.sum(code * last, 1) + last_bias) * truncation
        bracketed = (last_s < float("inf")) & ((t - last_t) * stretch < bracket)
        before = tl.where(bracketed, last_s, 0.0)
        between = last_t + (t - last_t) * before / tl.where(bracketed, before - s, 1.0)
        crossing = tl.where(bracketed, between, t + s / stretch)
        arrived = alive & (s < 0.0)
        found = tl.where(arrived, crossing, found)
        last_t, last_s = t, tl.where(alive, s, float("inf"))
        t += (share * s + extra) / stretch
        alive = alive & ~arrived
        wave += 1
    tl.store(hit + n, found, n < number)
