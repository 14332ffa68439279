"""Blending of keyframe images on a surface in Triton: one program blends a block of pixels.

See ``field.views.device_pixels`` for the same in torch, and ``field.views.blending`` for the CPU.
"""

# Compiled functions carry no annotations but constants, and Triton is not installed everywhere.
# pyright: basic, reportMissingImports=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false
import triton
import triton.language as tl

from semantic_field.kernels.triton_asking import projected

BLOCK = 128  # pixels per program


@triton.jit
def _moved(
    j, listed, z, directions, normals, shown, votes, past, off, facing, number, keyframes,
    field_depth, flattest_slope, longest_move, noise, noise_per_m,
):  # fmt: skip
    """Return pixels' moved depths, and the sums over keyframes of votes for and against them, and
    the best weight of a colour."""
    seen, against = tl.zeros_like(z), tl.zeros_like(z)
    best, change = tl.zeros_like(z), tl.zeros_like(z)
    for k in range(0, keyframes):
        at = k * number + j
        vote = tl.load(votes + at, listed, 0.0)
        seen += vote
        against += tl.load(past + at, listed, 0.0)
        best = tl.maximum(best, tl.load(shown + at, listed, 0.0))
        change -= vote * tl.load(off + at, listed, 0.0) * tl.load(facing + at, listed, 0.0)
    slope = tl.load(normals + j, listed, 0.0) * tl.load(directions + j, listed, 0.0)
    slope += tl.load(normals + number + j, listed, 0.0) * tl.load(
        directions + number + j, listed, 0.0
    )
    slope = tl.minimum(slope + tl.load(normals + 2 * number + j, listed, 0.0), flattest_slope)
    limit = longest_move * (noise + noise_per_m * z)
    change = change / ((seen + field_depth) * slope)
    return z + tl.minimum(tl.maximum(change, -limit), limit), seen, against, best


@triton.jit
def _between(image, right, below, s, t, mixing):
    """Return one channel of an image between four pixels."""
    one = tl.load(image, mixing, 0).to(tl.float32) * (1.0 - s)
    one += tl.load(image + right, mixing, 0).to(tl.float32) * s
    other = tl.load(image + below, mixing, 0).to(tl.float32) * (1.0 - s)
    other += tl.load(image + below + right, mixing, 0).to(tl.float32) * s
    return one * (1.0 - t) + other * t


@triton.jit
def _elected(j, listed, field, names, ballots, number, keyframes, field_label):
    """Return the name with most votes and its votes; of equal ones the first, the field's before
    those of the keyframes."""
    most = tl.zeros(field.shape, tl.float32) + field_label
    for k in range(0, keyframes):
        same = tl.load(names + k * number + j, listed, 0) == field
        most += tl.where(same, tl.load(ballots + k * number + j, listed, 0.0), 0.0)
    winner = field
    for a in range(0, keyframes):
        name = tl.load(names + a * number + j, listed, 0)
        own = tl.where(name == field, field_label, 0.0)
        for b in range(0, keyframes):
            same = tl.load(names + b * number + j, listed, 0) == name
            own += tl.where(same, tl.load(ballots + b * number + j, listed, 0.0), 0.0)
        better = (tl.load(ballots + a * number + j, listed, 0.0) > 0.0) & (own > most)
        winner, most = tl.where(better, name, winner), tl.where(better, own, most)
    return winner, most


@triton.jit
def _store_byte(to, value, trust, before, known, listed):
    old = tl.load(before, listed, 0)
    value = value + (1.0 - trust) * old.to(tl.float32) + 0.5
    value = tl.minimum(tl.maximum(value, 0.0), 255.0).to(tl.int32).to(tl.uint8)
    tl.store(to, tl.where(known, value, old), listed)


@triton.jit
def blend(
    directions, depth, normals, color, label, shown, votes, past, off, facing, matrix, last, width,
    slots, exposures, colors, labels, class_ids, names, ballots,
    out_depth, out_color, out_label, out_confidence, number, room, keyframes,
    field_depth: tl.constexpr, field_color: tl.constexpr, field_label: tl.constexpr,
    negligible: tl.constexpr, flattest_slope: tl.constexpr, longest_move: tl.constexpr,
    noise: tl.constexpr, noise_per_m: tl.constexpr, least_seen: tl.constexpr,
    block: tl.constexpr,
):  # fmt: skip
    """Fill depths, colours, labels and confidences of N = ``number`` pixels.

    Args:
        directions, normals: (3, N). depth, color, label: of the field, (N,), (N, 3) and (N,).
        shown to facing: (K, N) with K = ``keyframes``, from ``triton_asking.ask``.
        exposures: (K, 3, 2). colors, labels: of images of ``room`` pixels. class_ids: (C,).
        names, ballots: int32 and float32 (K, N), overwritten.
    """
    j = tl.program_id(0) * block + tl.arange(0, block)
    listed = j < number
    z = tl.load(depth + j, listed, 0.0)
    known = z > 0.0
    z, seen, against, best = _moved(
        j, listed, z, directions, normals, shown, votes, past, off, facing, number, keyframes,
        field_depth, flattest_slope, longest_move, noise, noise_per_m,
    )  # fmt: skip
    x = tl.load(directions + j, listed, 0.0) * z
    y = tl.load(directions + number + j, listed, 0.0) * z
    total, weights = tl.zeros_like(z) + field_label, tl.zeros_like(z)
    red, green, blue = tl.zeros_like(z), tl.zeros_like(z), tl.zeros_like(z)
    for k in range(0, keyframes):
        vote = tl.load(votes + k * number + j, listed, 0.0)
        voting = vote > 0.0
        u, v, far = projected(matrix + 12 * k, x, y, z)
        last_u, last_v = tl.load(last + 2 * k), tl.load(last + 2 * k + 1)
        u = tl.where(voting, tl.minimum(tl.maximum(u / far, 0.0), last_u), 0.0)
        v = tl.where(voting, tl.minimum(tl.maximum(v / far, 0.0), last_v), 0.0)
        columns, first = tl.load(width + k), tl.load(slots + k) * room
        pixel = first + (v + 0.5).to(tl.int64) * columns + (u + 0.5).to(tl.int64)
        row = tl.load(labels + pixel, voting, -1).to(tl.int32)
        named = row >= 0
        ballot = tl.where(named, vote, 0.0)
        tl.store(names + k * number + j, tl.load(class_ids + row, named, 0), listed)
        tl.store(ballots + k * number + j, ballot, listed)
        total += ballot

        weight = tl.load(shown + k * number + j, listed, 0.0)
        weight = tl.where(weight > negligible * best, weight, 0.0)
        mixing = weight > 0.0
        left, top = u.to(tl.int64), v.to(tl.int64)
        s, t = u - left.to(tl.float32), v - top.to(tl.float32)
        right = tl.where(left.to(tl.float32) < last_u, 3, 0)
        below = tl.where(top.to(tl.float32) < last_v, 3 * columns, 0)
        image, own = colors + 3 * (first + top * columns + left), exposures + 6 * k
        value = tl.load(own) * _between(image, right, below, s, t, mixing)
        red += weight * (value + tl.load(own + 1))
        value = tl.load(own + 2) * _between(image + 1, right, below, s, t, mixing)
        green += weight * (value + tl.load(own + 3))
        value = tl.load(own + 4) * _between(image + 2, right, below, s, t, mixing)
        blue += weight * (value + tl.load(own + 5))
        weights += weight
    tl.debug_barrier()  # names and ballots are read by other threads of the program
    field = tl.load(label + j, listed, -1)
    winner, most = _elected(j, listed, field, names, ballots, number, keyframes, field_label)
    trust = tl.where(weights > 0.0, seen / (seen + field_color), 0.0)
    share = trust / tl.maximum(weights, 1e-30)
    tl.store(out_depth + j, z, listed)
    tl.store(out_label + j, winner, listed)
    is_seen = known & (seen > least_seen)
    tl.store(out_confidence + j, tl.where(is_seen, most / (total + against), 0.0), listed)
    _store_byte(out_color + 3 * j, red * share, trust, color + 3 * j, known, listed)
    _store_byte(out_color + 3 * j + 1, green * share, trust, color + 3 * j + 1, known, listed)
    _store_byte(out_color + 3 * j + 2, blue * share, trust, color + 3 * j + 2, known, listed)
