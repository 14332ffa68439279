"""Layer norm and ReLU beside bfloat16 matrix products, forwards and backwards, one pass each.

bfloat16 arrays are uint16 here (Numba has no such type); all sums are in float32. A row is
widened into a buffer in the first-level cache, and rounded to the nearest when it is stored.
"""

# Compiled functions carry no annotations.
# pyright: basic, reportAttributeAccessIssue=false
from __future__ import annotations

import numpy as np
from numba import njit

_jit = njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
EPSILON = np.float32(1e-5)
HALF, SHIFT = np.uint32(0x8000), np.uint32(16)
SIGN = np.uint16(0x8000)


@njit(inline="always")
def _normalise(value, width, share):
    """Replace a row by its layer norm; return one over its standard deviation."""
    total = np.float32(0)
    for j in range(width):
        total += value[j]
    mean = total * share
    squares = np.float32(0)
    for j in range(width):
        value[j] -= mean
        squares += value[j] * value[j]
    one_over = np.float32(1) / np.sqrt(squares * share + EPSILON)
    for j in range(width):
        value[j] *= one_over
    return one_over


@njit(inline="always")
def _store_active(bits, width, normed, active, r):
    """Round a row into ``normed``, and into ``active`` where it is positive."""
    for j in range(width):
        short = np.uint16((bits[j] + HALF) >> SHIFT)
        normed[r, j] = short
        active[r, j] = short if short < SIGN else np.uint16(0)


@_jit
def norm_forward(product, bias, gain, shift, affine, normed, active, scale):
    """Layer norm and ReLU of linear layers' products.

    ``product`` bfloat16 (N, F) without ``bias`` (F,); out come ``normed`` (N, F), before ``gain``
    and ``shift`` (F,), which are used only if ``affine``; ``active`` (N, F) after them and the
    ReLU; and ``scale`` (N,): one over the standard deviation.
    """
    rows, width = product.shape
    value, out = np.empty(width, np.float32), np.empty(width, np.float32)
    bits, out_bits = value.view(np.uint32), out.view(np.uint32)
    share, zero = np.float32(1.0 / width), np.float32(0)
    for r in range(rows):
        for j in range(width):
            bits[j] = np.uint32(product[r, j]) << SHIFT
        for j in range(width):
            value[j] += bias[j]
        scale[r] = _normalise(value, width, share)
        _store_active(bits, width, normed, active, r)
        if affine:
            for j in range(width):
                out[j] = max(value[j] * gain[j] + shift[j], zero)
            for j in range(width):
                active[r, j] = np.uint16((out_bits[j] + HALF) >> SHIFT)


@_jit
def first_layer_forward(points, weight, bias, normed, active, scale):
    """The first layer of phi: float32 ``points`` (N, 3) times ``weight`` (3, F), norm and ReLU."""
    rows, width = normed.shape
    value = np.empty(width, np.float32)
    bits = value.view(np.uint32)
    share = np.float32(1.0 / width)
    for r in range(rows):
        x, y, z = points[r, 0], points[r, 1], points[r, 2]
        for j in range(width):
            value[j] = x * weight[0, j] + y * weight[1, j] + z * weight[2, j] + bias[j]
        scale[r] = _normalise(value, width, share)
        _store_active(bits, width, normed, active, r)


@_jit
def norm_backward(gradient, normed, scale, gain, shift, affine, out, active, sums):
    """From gradients at ``active`` to those at the product, both bfloat16 (N, F).

    ``active`` is computed again from ``normed``. ``sums`` (3, F) float32 gets the gradients of
    gain, shift and bias added, the first two only if ``affine``; else gain is 1 and shift 0.
    """
    rows, width = gradient.shape
    value, into = np.empty(width, np.float32), np.empty(width, np.float32)
    act, biases = np.empty(width, np.float32), np.zeros(width, np.float32)
    gains, shifts = np.zeros(width, np.float32), np.zeros(width, np.float32)
    bits, into_bits, act_bits = value.view(np.uint32), into.view(np.uint32), act.view(np.uint32)
    share, zero = np.float32(1.0 / width), np.float32(0)
    for r in range(rows):
        for j in range(width):
            bits[j] = np.uint32(normed[r, j]) << SHIFT
        for j in range(width):
            into_bits[j] = np.uint32(gradient[r, j]) << SHIFT
        if affine:
            for j in range(width):
                act[j] = max(value[j] * gain[j] + shift[j], zero)
                into[j] = into[j] if act[j] > zero else zero
            for j in range(width):
                gains[j] += into[j] * value[j]
                shifts[j] += into[j]
                into[j] *= gain[j]
            for j in range(width):
                active[r, j] = np.uint16((act_bits[j] + HALF) >> SHIFT)
        else:
            for j in range(width):
                into[j] = into[j] if value[j] > zero else zero
            for j in range(width):
                active[r, j] = normed[r, j] if normed[r, j] < SIGN else np.uint16(0)
        total, along = zero, zero
        for j in range(width):
            total += into[j]
            along += into[j] * value[j]
        total *= share
        along *= share
        factor = scale[r]
        for j in range(width):
            into[j] = factor * (into[j] - total - value[j] * along)
            biases[j] += into[j]
        for j in range(width):
            out[r, j] = np.uint16((into_bits[j] + HALF) >> SHIFT)
    for j in range(width):
        sums[0, j] += gains[j]
        sums[1, j] += shifts[j]
        sums[2, j] += biases[j]


@_jit
def first_layer_backward(product, points, weight, along, weight_sums, along_out):
    """From gradients at the first layer's product to those of its weight and of positions.

    ``product`` bfloat16 (N, F); ``weight_sums`` (3, F) gets the weight's added; ``along_out`` (N,)
    gets those of the distances along rays of directions ``along`` (N, 3) added.
    """
    rows, width = product.shape
    value = np.empty(width, np.float32)
    bits = value.view(np.uint32)
    for r in range(rows):
        for j in range(width):
            bits[j] = np.uint32(product[r, j]) << SHIFT
        x, y, z = points[r, 0], points[r, 1], points[r, 2]
        dx, dy, dz = np.float32(0), np.float32(0), np.float32(0)
        for j in range(width):
            weight_sums[0, j] += value[j] * x
            weight_sums[1, j] += value[j] * y
            weight_sums[2, j] += value[j] * z
            dx += value[j] * weight[0, j]
            dy += value[j] * weight[1, j]
            dz += value[j] * weight[2, j]
        along_out[r] += dx * along[r, 0] + dy * along[r, 1] + dz * along[r, 2]
