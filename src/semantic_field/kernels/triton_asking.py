"""What keyframes say about points of a surface, in Triton: one program asks one keyframe.

See ``field.views.device_asking`` for the same in torch, and ``field.views.asking`` for the CPU.
"""

# Compiled functions carry no annotations but constants, and Triton is not installed everywhere.
# pyright: basic, reportMissingImports=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false
import triton
import triton.language as tl

BLOCK = 256  # points per program


@triton.jit
def projected(matrix, x, y, z):
    """Return the three coordinates of points multiplied by a matrix (3, 4)."""
    u = tl.load(matrix) * x + tl.load(matrix + 1) * y + tl.load(matrix + 2) * z
    v = tl.load(matrix + 4) * x + tl.load(matrix + 5) * y + tl.load(matrix + 6) * z
    far = tl.load(matrix + 8) * x + tl.load(matrix + 9) * y + tl.load(matrix + 10) * z
    return u + tl.load(matrix + 3), v + tl.load(matrix + 7), far + tl.load(matrix + 11)


@triton.jit
def ask(
    points, normals, matrix, position, last, focal, width, trust, slots, depths, labels,
    shown, votes, past, off, facing, index, number, room, target_focal, doubted,
    color_sine2: tl.constexpr, label_sine2: tl.constexpr, per_border: tl.constexpr,
    per_cosine: tl.constexpr, nearest: tl.constexpr, noise: tl.constexpr,
    noise_per_m: tl.constexpr, flattest: tl.constexpr, unread: tl.constexpr,
    behind: tl.constexpr, clearly: tl.constexpr, slack: tl.constexpr,
    off_share: tl.constexpr, unit: tl.constexpr, masked: tl.constexpr, tiny: tl.constexpr,
    block: tl.constexpr,
):  # fmt: skip
    """Fill ``shown`` to ``index`` (K, N); see ``Answers``.

    Args:
        points, normals: (3, N) with N = ``number``. matrix to trust: of ``DeviceLenses``.
        depths, labels: int16 (number of images, ``room``). slots: the keyframes' images.
        doubted: see ``asking.asked``.
    """
    k = tl.program_id(1)
    j = tl.program_id(0) * block + tl.arange(0, block)
    listed = j < number
    x, y = tl.load(points + j, listed, 0.0), tl.load(points + number + j, listed, 0.0)
    z = tl.load(points + 2 * number + j, listed, 0.0)
    nx, ny = tl.load(normals + j, listed, 0.0), tl.load(normals + number + j, listed, 0.0)
    nz = tl.load(normals + 2 * number + j, listed, 0.0)
    ax, ay = x - tl.load(position + 3 * k), y - tl.load(position + 3 * k + 1)
    az = z - tl.load(position + 3 * k + 2)
    u, v, far = projected(matrix + 12 * k, x, y, z)
    u, v = u / far, v / far

    apart = ax * ax + ay * ay + az * az + tiny
    along = tl.maximum(x * ax + y * ay + z * az, 0.0)
    here = x * x + y * y + z * z + tiny
    sine2 = tl.maximum(1.0 - along * along / (apart * here), 0.0)
    plane = -(nx * ax + ny * ay + nz * az)
    cosine = plane / tl.sqrt(apart)
    last_u, last_v = tl.load(last + 2 * k), tl.load(last + 2 * k + 1)
    border = tl.minimum(tl.minimum(u, v), tl.minimum(last_u - u, last_v - v)) + 0.5
    inside = tl.minimum(tl.maximum(border * (per_border / (last_u + 1.0)), 0.0), 1.0)
    detail = tl.load(focal + k) / target_focal * z / tl.maximum(far, nearest)
    detail = tl.minimum(detail, 1.0)
    weight = tl.load(trust + k) * inside * detail * detail
    weight *= tl.minimum(tl.maximum(cosine * per_cosine, 0.0), 1.0)
    seen = listed & (far > nearest) & (weight > 0.0)
    weight = tl.where(seen, weight, 0.0)
    color = weight * color_sine2 / (color_sine2 + sine2)
    label = weight * label_sine2 / (label_sine2 + sine2)

    column = tl.where(seen, u + 0.5, 0.0).to(tl.int64)
    line = tl.where(seen, v + 0.5, 0.0).to(tl.int64)
    pixel = tl.load(slots + k) * room + line * tl.load(width + k) + column
    seen = seen & (tl.load(labels + pixel, seen, masked) != masked)
    stored = tl.load(depths + pixel, seen, 0).to(tl.int32)
    reading, guess = stored.to(tl.float32) * unit, (stored & 0x7FFF).to(tl.float32) * unit
    read = reading > 0.0
    most = (noise + noise_per_m * far) / tl.maximum(cosine, flattest)
    apart_by = reading - far
    share = apart_by / most
    agrees = seen & read & (tl.abs(apart_by) <= most)
    in_doubt = seen & read & ~agrees & (doubted > 0.0) & (tl.abs(apart_by) <= slack * most)
    kept = tl.where(agrees, 1.0 - off_share * share * share, tl.where(in_doubt, doubted, 0.0))
    is_behind = (guess > 0.0) & (far - guess > clearly * most)
    kept = tl.where(seen & ~read, tl.where(is_behind, behind, unread), kept)
    to = k.to(tl.int64) * number + j
    tl.store(shown + to, color * kept, listed)
    tl.store(votes + to, label * kept, listed)
    tl.store(past + to, tl.where(seen & read & ~in_doubt & (apart_by > most), label, 0.0), listed)
    tl.store(off + to, tl.where(agrees, apart_by / far, 0.0), listed)
    tl.store(facing + to, plane, listed)
    tl.store(index + to, pixel, listed)
