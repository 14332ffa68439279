"""Voxel traversal in Triton: moves a block of rays to their next voxel in use.

See ``field.voxels.traversal`` for the CPU implementation. Bricks of 8 x 8 x 8 voxels that are not
stored are crossed in one step. In the functions below positions and directions are in voxels,
relative to the lowest corner of the index; ray parameters keep their unit.
"""

# Compiled functions carry no annotations but constants, and Triton is not installed everywhere.
# pyright: basic, reportMissingImports=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false
import triton
import triton.language as tl

BLOCK = 128  # rays per program


@triton.jit
def _inverse(direction, never: tl.constexpr):
    return tl.where(direction != 0.0, 1.0 / tl.where(direction != 0.0, direction, 1.0), never)


@triton.jit
def _strides(dx, dy, dz, nudge: tl.constexpr, never: tl.constexpr):
    """Return inverse directions, and the small step that takes a ray past a voxel border."""
    ix, iy, iz = _inverse(dx, never), _inverse(dy, never), _inverse(dz, never)
    return ix, iy, iz, nudge * tl.minimum(tl.minimum(tl.abs(ix), tl.abs(iy)), tl.abs(iz))


@triton.jit
def _clip(place, inverse, size, near, far):
    """Clip ``near`` to ``far`` to the part in which rays are between 0 and ``size`` on one axis."""
    one, other = -place * inverse, (size - place) * inverse
    return tl.maximum(near, tl.minimum(one, other)), tl.minimum(far, tl.maximum(one, other))


@triton.jit
def _leave(at, cell, size, inverse):
    """Return the ray parameter to the exit of the cube of edge ``size`` at ``cell`` on one axis."""
    low = cell & -size
    return ((low + tl.where(inverse > 0.0, size, 0)).to(tl.float32) - at) * inverse


@triton.jit
def start_of(origin, low, per_metre):
    """Return the rays' origin in voxels, relative to the lowest corner of the index."""
    x = tl.load(origin) * per_metre - (tl.load(low) * 8).to(tl.float32)
    y = tl.load(origin + 1) * per_metre - (tl.load(low + 1) * 8).to(tl.float32)
    z = tl.load(origin + 2) * per_metre - (tl.load(low + 2) * 8).to(tl.float32)
    return x, y, z


@triton.jit
def enter(ox, oy, oz, dx, dy, dz, shape, t, far, nudge: tl.constexpr, never: tl.constexpr):
    """Return the ray parameters at which rays enter (from ``t`` on) and leave the index."""
    ix, iy, iz, step = _strides(dx, dy, dz, nudge, never)
    begin, end = _clip(ox, ix, (tl.load(shape) * 8).to(tl.float32), t, far)
    begin, end = _clip(oy, iy, (tl.load(shape + 1) * 8).to(tl.float32), begin, end)
    begin, end = _clip(oz, iz, (tl.load(shape + 2) * 8).to(tl.float32), begin, end)
    return tl.where(begin > t, begin + step, t), end


@triton.jit
def next_voxel(
    ox, oy, oz, dx, dy, dz, t, end, going, shape, index, counts,
    nudge: tl.constexpr, never: tl.constexpr,
):  # fmt: skip
    """Return where rays that are ``going`` meet a voxel in use in ``t`` to ``end``; inf = none."""
    sx, sy, sz = tl.load(shape), tl.load(shape + 1), tl.load(shape + 2)
    ix, iy, iz, step = _strides(dx, dy, dz, nudge, never)
    found = tl.full(t.shape, float("inf"), tl.float32)
    going = going & (t < end)
    while tl.max(going.to(tl.int32), 0) > 0:
        px, py, pz = ox + t * dx, oy + t * dy, oz + t * dz
        x, y, z = tl.floor(px).to(tl.int32), tl.floor(py).to(tl.int32), tl.floor(pz).to(tl.int32)
        bx, by, bz = x >> 3, y >> 3, z >> 3
        inside = going & (bx >= 0) & (by >= 0) & (bz >= 0) & (bx < sx) & (by < sy) & (bz < sz)
        slot = tl.load(index + (bx * sy + by) * sz + bz, inside, -1)
        known = slot >= 0
        voxel = ((z & 7) << 6) | ((y & 7) << 3) | (x & 7)
        used = known & (tl.load(counts + slot.to(tl.int64) * 512 + voxel, known, 0) > 0)
        found = tl.where(used & going, t, found)
        size = tl.where(known, 1, 8)
        leave = tl.minimum(_leave(px, x, size, ix), _leave(py, y, size, iy))
        leave = tl.maximum(tl.minimum(leave, _leave(pz, z, size, iz)), 0.0)
        t = tl.where(going, t + leave + step, t)
        going = going & ~used & (t < end)
    return found


@triton.jit
def advance(
    origin, directions, start, rays, low, shape, index, counts, number, far, per_metre,
    nudge: tl.constexpr, never: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Advance ``start`` of the listed rays to their next used voxel; inf if there is none."""
    i = tl.program_id(0) * block + tl.arange(0, block)
    listed = i < number
    n = tl.load(rays + i, listed, 0)
    ox, oy, oz = start_of(origin, low, per_metre)
    dx = tl.load(directions + 3 * n, listed, 0.0) * per_metre
    dy = tl.load(directions + 3 * n + 1, listed, 0.0) * per_metre
    dz = tl.load(directions + 3 * n + 2, listed, 0.0) * per_metre
    t = tl.load(start + n, listed, 0.0)
    t, end = enter(ox, oy, oz, dx, dy, dz, shape, t, far, nudge, never)
    t = next_voxel(
        ox, oy, oz, dx, dy, dz, t, end, listed, shape, index, counts, nudge, never
    )  # fmt: skip
    tl.store(start + n, t, listed)
