"""Triton kernels of the hash grid: one program processes a block of points on one level.

The F features of an entry are adjacent in memory: they are read with one load and, in the backward
pass, added with vector (sm_90) or packed half2 atomics. ``padded`` is F (or the number of floats of
a line) rounded up to a power of two, which Triton's blocks need.
"""

# Compiled functions carry no annotations but constants, and Triton is not installed everywhere.
# pyright: basic, reportMissingImports=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false
import triton
import triton.language as tl

from semantic_field.kernels.interface import HASH_CENTRE, HASH_PRIMES

CENTRE = tl.constexpr(HASH_CENTRE)
PRIME_Y, PRIME_Z = tl.constexpr(HASH_PRIMES[1]), tl.constexpr(HASH_PRIMES[2])


@triton.jit
def axis(position):
    """On one axis: the lower vertex, and the fraction of the cell beyond it.

    The GPU fuses scaling and subtraction: rounding can make the fraction at a border slightly
    negative, so it is clamped.
    """
    low = tl.floor(position)
    return low.to(tl.int32), tl.maximum(position - low, 0.0)


@triton.jit
def _locate(points, n, inside, scale):
    """Return cells (three int32) and fractions (three float32) of points ``n``."""
    x, fx = axis(tl.load(points + 3 * n, inside, 0.0) * scale)
    y, fy = axis(tl.load(points + 3 * n + 1, inside, 0.0) * scale)
    z, fz = axis(tl.load(points + 3 * n + 2, inside, 0.0) * scale)
    return x, y, z, fx, fy, fz


@triton.jit
def _row(x, y, z, mask):
    """Return the index of a vertex in a table of ``8 (mask + 1)`` entries, by uint32 arithmetic."""
    hashed = ((x >> 1) + CENTRE).to(tl.uint32, bitcast=True)
    hashed ^= ((y >> 1) + CENTRE).to(tl.uint32, bitcast=True) * PRIME_Y
    hashed ^= ((z >> 1) + CENTRE).to(tl.uint32, bitcast=True) * PRIME_Z
    block = (hashed & mask.to(tl.uint32)).to(tl.int32)
    return (block << 3) | (x & 1) | ((y & 1) << 1) | ((z & 1) << 2)


@triton.jit
def _side(fraction, upper: tl.constexpr):
    """Return the linear weight of the lower or the upper vertex of an axis."""
    return fraction if upper else 1.0 - fraction


@triton.jit
def interpolated(
    x, y, z, fx, fy, fz, entries, mask, block_mask, features: tl.constexpr, padded: tl.constexpr
):
    """Return the features (N, padded) of one level at the given cells and fractions."""
    f = tl.arange(0, padded)
    mask = mask[:, None] if padded == features else mask[:, None] & (f < features)[None]
    total = tl.zeros((x.shape[0], padded), tl.float32)
    for corner in tl.static_range(8):
        row = _row(x + (corner & 1), y + (corner >> 1 & 1), z + (corner >> 2), block_mask)
        weight = _side(fx, corner & 1) * _side(fy, corner >> 1 & 1) * _side(fz, corner >> 2)
        value = tl.load(entries + row[:, None] * features + f[None], mask, 0.0)
        total += weight[:, None] * value.to(tl.float32)
    return total


@triton.jit
def encode(
    points, table, scales, masks, out, number,
    size: tl.constexpr, features: tl.constexpr, padded: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Interpolate the features of ``number`` points; one program per block and level."""
    level = tl.program_id(1)
    n = tl.program_id(0) * block + tl.arange(0, block)
    f = tl.arange(0, padded)
    inside = n < number
    x, y, z, fx, fy, fz = _locate(points, n, inside, tl.load(scales + level))
    block_mask = tl.load(masks + level)
    entries = table + level.to(tl.int64) * (size * features)
    total = interpolated(x, y, z, fx, fy, fz, entries, inside, block_mask, features, padded)
    mask = inside[:, None] if padded == features else inside[:, None] & (f < features)[None]
    rows = (level * features + f).to(tl.int64) * number
    tl.store(out + rows[None] + n[:, None], total.to(out.dtype.element_ty), mask)


@triton.jit
def backward_table(
    points, scales, masks, grad, table_grad, touched, number, grad_scale,
    size: tl.constexpr, features: tl.constexpr, padded: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Add feature gradients, times ``grad_scale``, to the table's; flag the changed lines."""
    level = tl.program_id(1)
    n = tl.program_id(0) * block + tl.arange(0, block)
    f = tl.arange(0, padded)
    inside = n < number
    rows = (level * features + f).to(tl.int64) * number
    mask = inside[:, None] if padded == features else inside[:, None] & (f < features)[None]
    g = tl.load(grad + rows[None] + n[:, None], mask, 0.0).to(tl.float32) * grad_scale
    inside = inside & (tl.max(tl.abs(g), 1) > 0)
    mask = inside[:, None] if padded == features else inside[:, None] & (f < features)[None]
    x, y, z, fx, fy, fz = _locate(points, n, inside, tl.load(scales + level))
    block_mask = tl.load(masks + level)
    entries = table_grad + level.to(tl.int64) * (size * features)
    flags = touched + level.to(tl.int64) * (size // 4)
    for corner in tl.static_range(8):
        row = _row(x + (corner & 1), y + (corner >> 1 & 1), z + (corner >> 2), block_mask)
        weight = _side(fx, corner & 1) * _side(fy, corner >> 1 & 1) * _side(fz, corner >> 2)
        share = (weight[:, None] * g).to(table_grad.dtype.element_ty)
        tl.atomic_add(entries + row[:, None] * features + f[None], share, mask, sem="relaxed")
        tl.store(flags + (row >> 2), 1, inside)


@triton.jit
def backward_points(
    points, table, scales, masks, grad, out, number,
    levels: tl.constexpr, size: tl.constexpr, features: tl.constexpr, padded: tl.constexpr,
    block: tl.constexpr,
):  # fmt: skip
    """Compute the gradients (number, 3) of points from those of their features."""
    n = tl.program_id(0) * block + tl.arange(0, block)
    f = tl.arange(0, padded)
    inside = n < number
    mask = inside[:, None] if padded == features else inside[:, None] & (f < features)[None]
    dx = tl.zeros((block,), tl.float32)
    dy = tl.zeros((block,), tl.float32)
    dz = tl.zeros((block,), tl.float32)
    for level in range(levels):
        scale = tl.load(scales + level)
        x, y, z, fx, fy, fz = _locate(points, n, inside, scale)
        rows = (level * features + f).to(tl.int64) * number
        g = tl.load(grad + rows[None] + n[:, None], mask, 0.0).to(tl.float32) * scale
        block_mask = tl.load(masks + level)
        entries = table + tl.cast(level, tl.int64) * (size * features)
        for corner in tl.static_range(8):
            row = _row(x + (corner & 1), y + (corner >> 1 & 1), z + (corner >> 2), block_mask)
            value = tl.load(entries + row[:, None] * features + f[None], mask, 0.0)
            slope = tl.sum(value.to(tl.float32) * g, 1)
            wx, wy, wz = _side(fx, corner & 1), _side(fy, corner >> 1 & 1), _side(fz, corner >> 2)
            dx += ((corner & 1) * 2 - 1) * (wy * wz * slope)
            dy += ((corner >> 1 & 1) * 2 - 1) * (wx * wz * slope)
            dz += ((corner >> 2) * 2 - 1) * (wx * wy * slope)
    tl.store(out + 3 * n, dx, inside)
    tl.store(out + 3 * n + 1, dy, inside)
    tl.store(out + 3 * n + 2, dz, inside)


@triton.jit
def set_rates(rates, beta1, beta2, rest1, rest2, rate, correction, epsilon):
    """Store Adam's scalars of this step in device memory, where ``adam`` reads them."""
    tl.store(rates, beta1)
    tl.store(rates + 1, beta2)
    tl.store(rates + 2, rest1)
    tl.store(rates + 3, rest2)
    tl.store(rates + 4, rate)
    tl.store(rates + 5, correction)
    tl.store(rates + 6, epsilon)


@triton.jit
def adam(
    table, working, grad, first, second, touched, rates, unscale, number,
    has_working: tl.constexpr, is_half: tl.constexpr, lanes: tl.constexpr,
    padded: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Apply an Adam step to the touched lines; clear their gradients and flags."""
    line = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    flag = tl.load(touched + line, line < number, 0)
    if tl.max(flag.to(tl.int32), 0) > 0:
        lane = tl.arange(0, padded)
        at = line[:, None] * lanes + lane[None]
        listed = flag[:, None] != 0
        mask = listed if padded == lanes else listed & (lane < lanes)[None]
        g = tl.load(grad + at, mask, 0.0).to(tl.float32) * unscale
        moved = g != 0
        if is_half:  # skip sums that have overflowed float16
            moved = moved & (tl.abs(g) < float("inf"))
        t = tl.load(table + at, mask, 0.0)
        old_m, old_v = tl.load(first + at, mask, 0.0), tl.load(second + at, mask, 0.0)
        m = tl.load(rates) * old_m + tl.load(rates + 2) * g
        v = tl.load(rates + 1) * old_v + tl.load(rates + 3) * g * g
        root = tl.sqrt_rn(v * tl.load(rates + 5)) + tl.load(rates + 6)
        t = tl.where(moved, t - tl.load(rates + 4) * m / root, t)
        # whole lines are written, unchanged elements included, so that stores stay wide
        tl.store(table + at, t, mask)
        tl.store(first + at, tl.where(moved, m, old_m), mask)
        tl.store(second + at, tl.where(moved, v, old_v), mask)
        if has_working:
            tl.store(working + at, t.to(working.dtype.element_ty), mask)
        tl.store(grad + at, tl.zeros((block, padded), grad.dtype.element_ty), mask)
        tl.store(touched + line, tl.zeros((block,), touched.dtype.element_ty), flag != 0)
