"""Layer norm and ReLU beside bfloat16 matrix products, forwards and backwards, one pass each.

bfloat16 arrays are uint16 here (Numba has no such type); all sums are in float32. A row is
widened into a buffer that the loops find in the first-level cache, and rounded to nearest even.
"""

# Compiled functions carry no annotations.
# pyright: basic, reportAttributeAccessIssue=false
from __future__ import annotations

import numpy as np
from numba import njit

_jit = njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
EPSILON = np.float32(1e-5)
HALF, ONE, SHIFT = np.uint32(0x7FFF), np.uint32(1), np.uint32(16)


@njit(inline="always")
def _rounded(bits):
    return np.uint16((bits + HALF + ((bits >> SHIFT) & ONE)) >> SHIFT)


@_jit
def norm_forward(product, bias, gain, shift, normed, active, scale):
    """Layer norm and ReLU of linear layers' products.

    ``product`` bfloat16 (N, F) without ``bias`` (F,); out come ``normed`` (N, F), before ``gain``
    and ``shift`` (F,), ``active`` (N, F) after them and the ReLU, and ``scale`` (N,): one over the
    standard deviation.
    """
    rows, width = product.shape
    value, out = np.empty(width, np.float32), np.empty(width, np.float32)
    bits, out_bits = value.view(np.uint32), out.view(np.uint32)
    share = np.float32(1.0 / width)
    for r in range(rows):
        for j in range(width):
            bits[j] = np.uint32(product[r, j]) << SHIFT
        total = np.float32(0)
        for j in range(width):
            value[j] += bias[j]
            total += value[j]
        mean = total * share
        squares = np.float32(0)
        for j in range(width):
            value[j] -= mean
            squares += value[j] * value[j]
        scale[r] = np.float32(1) / np.sqrt(squares * share + EPSILON)
        for j in range(width):
            value[j] *= scale[r]
            out[j] = max(value[j] * gain[j] + shift[j], np.float32(0))
        for j in range(width):
            normed[r, j] = _rounded(bits[j])
            active[r, j] = _rounded(out_bits[j])


@_jit
def first_layer_forward(points, weight, bias, normed, active, scale):
    """The first layer of phi: float32 ``points`` (N, 3) times ``weight`` (3, F), norm and ReLU."""
    rows, width = normed.shape
    value, out = np.empty(width, np.float32), np.empty(width, np.float32)
    bits, out_bits = value.view(np.uint32), out.view(np.uint32)
    share = np.float32(1.0 / width)
    for r in range(rows):
        x, y, z = points[r, 0], points[r, 1], points[r, 2]
        total = np.float32(0)
        for j in range(width):
            value[j] = x * weight[0, j] + y * weight[1, j] + z * weight[2, j] + bias[j]
            total += value[j]
        mean = total * share
        squares = np.float32(0)
        for j in range(width):
            value[j] -= mean
            squares += value[j] * value[j]
        scale[r] = np.float32(1) / np.sqrt(squares * share + EPSILON)
        for j in range(width):
            value[j] *= scale[r]
            out[j] = max(value[j], np.float32(0))
        for j in range(width):
            normed[r, j] = _rounded(bits[j])
            active[r, j] = _rounded(out_bits[j])


@_jit
def norm_backward(gradient, normed, scale, gain, shift, out, active, sums):
    """From gradients at ``active`` to those at the product, both bfloat16 (N, F).

    ``active`` is computed again from ``normed``. ``sums`` (3, F) float32 gets the gradients of
    gain, shift and bias added.
    """
    rows, width = gradient.shape
    value, into = np.empty(width, np.float32), np.empty(width, np.float32)
    act = np.empty(width, np.float32)
    bits, into_bits, act_bits = value.view(np.uint32), into.view(np.uint32), act.view(np.uint32)
    share = np.float32(1.0 / width)
    for r in range(rows):
        for j in range(width):
            bits[j] = np.uint32(normed[r, j]) << SHIFT
            into_bits[j] = np.uint32(gradient[r, j]) << SHIFT
        total, along = np.float32(0), np.float32(0)
        for j in range(width):
            act[j] = max(value[j] * gain[j] + shift[j], np.float32(0))
            g = into[j] if act[j] > 0 else np.float32(0)
            sums[0, j] += g * value[j]
            sums[1, j] += g
            g *= gain[j]
            into[j] = g
            total += g
            along += g * value[j]
        total *= share
        along *= share
        for j in range(width):
            into[j] = scale[r] * (into[j] - total - value[j] * along)
            sums[2, j] += into[j]
        for j in range(width):
            out[r, j] = _rounded(into_bits[j])
            active[r, j] = _rounded(act_bits[j])


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
