"""One step of an LSTM cell for many rays, forwards and backwards, in float32.

The order of the gates is torch's: input, forget, candidate, output. The product of the features
with the input weights is made before, as bfloat16 (uint16 here).
"""

# Compiled functions carry no annotations.
# pyright: basic, reportAttributeAccessIssue=false
from __future__ import annotations

import numpy as np
from numba import njit

_jit = njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
LOG2_E = np.float32(1.4426950408889634)
LIMIT = np.float32(86.0)  # of what goes into the exponential: float32 holds e^86 and e^-86
# 2^f for f in -0.5..0.5: the Taylor series in f * ln 2, whose error is below 1e-8
C1, C2, C3 = np.float32(0.6931471806), np.float32(0.2402265070), np.float32(0.0555041087)
C4, C5, C6 = np.float32(0.0096181291), np.float32(0.0013333558), np.float32(0.0001540353)
HALF, ONE, SHIFT = np.uint32(0x7FFF), np.uint32(1), np.uint32(16)


@njit(inline="always")
def _logistic(values, powers, count):
    """Replace each of the first values x by 1 / (1 + e^-x); ``powers`` int32 is for the bits."""
    scales = powers.view(np.float32)
    for j in range(count):
        x = min(max(-values[j], -LIMIT), LIMIT) * LOG2_E
        whole = np.floor(x + np.float32(0.5))
        f = x - whole
        powers[j] = (np.int32(whole) + np.int32(127)) << np.int32(23)
        series = f * (C1 + f * (C2 + f * (C3 + f * (C4 + f * (C5 + f * C6)))))
        values[j] = np.float32(1) + series
    for j in range(count):
        values[j] = np.float32(1) / (np.float32(1) + values[j] * scales[j])


@_jit
def cell_forward(
    product, bias, recurrent, step_weight, step_bias,
    hidden, cell, gates, bent, hidden_out, cell_out, distance, distance_out,
):  # fmt: skip
    """Step the cell and the rays.

    ``product`` bfloat16 (N, 4 H); ``bias`` (4 H,), both of the cell's together; ``recurrent``
    (H, 4 H); ``hidden`` and ``cell`` (N, H) before, ``..._out`` after the step; ``gates``
    (N, 4 H) and ``bent`` (N, H), the cell's tanh, are kept for the way back; ``distance`` (N,).
    """
    rows, states = hidden.shape
    width = 4 * states
    value, low = np.empty(width, np.float32), np.empty(states, np.float32)
    bits, powers = value.view(np.uint32), np.empty(width, np.int32)
    for r in range(rows):
        for j in range(width):
            bits[j] = np.uint32(product[r, j]) << SHIFT
        for j in range(width):
            value[j] += bias[j]
        for k in range(states):
            before = hidden[r, k]
            for j in range(width):
                value[j] += before * recurrent[k, j]
        for j in range(2 * states, 3 * states):
            value[j] *= np.float32(2)  # tanh(x) = 2 logistic(2 x) - 1
        _logistic(value, powers, width)
        for j in range(2 * states, 3 * states):
            value[j] = np.float32(2) * value[j] - np.float32(1)
        for j in range(width):
            gates[r, j] = value[j]
        for k in range(states):
            state = value[states + k] * cell[r, k] + value[k] * value[2 * states + k]
            cell_out[r, k] = state
            low[k] = np.float32(2) * state
        _logistic(low, powers, states)
        length = step_bias
        for k in range(states):
            bend = np.float32(2) * low[k] - np.float32(1)
            bent[r, k] = bend
            after = value[3 * states + k] * bend
            hidden_out[r, k] = after
            length += after * step_weight[k]
        distance_out[r] = distance[r] + length


@_jit
def cell_backward(
    along, gates, bent, hidden, cell, hidden_out, recurrent, step_weight, bound,
    hidden_gradient, cell_gradient, product, recurrent_sums, bias_sums, step_sums,
):  # fmt: skip
    """Go back through a step.

    ``along`` (N,): gradients at the distances after the step, which are those before it as well.
    ``hidden_gradient`` and ``cell_gradient`` (N, H): from the next step, and then for the step
    before; the first is bounded by ``bound``. ``product`` bfloat16 (N, 4 H) becomes the gradient
    at the product; sums (H, 4 H), (4 H,) and (H + 1,) get the weights' gradients added, the last
    ones those of the step's length and its bias.
    """
    rows, states = hidden.shape
    width = 4 * states
    value = np.empty(width, np.float32)
    bits = value.view(np.uint32)
    for r in range(rows):
        for k in range(states):
            step_sums[k] += along[r] * hidden_out[r, k]
            g = hidden_gradient[r, k] + along[r] * step_weight[k]
            g = min(max(g, -bound), bound)
            i, f = gates[r, k], gates[r, states + k]
            c, o = gates[r, 2 * states + k], gates[r, 3 * states + k]
            bend = bent[r, k]
            at_cell = cell_gradient[r, k] + g * o * (np.float32(1) - bend * bend)
            value[k] = at_cell * c * i * (np.float32(1) - i)
            value[states + k] = at_cell * cell[r, k] * f * (np.float32(1) - f)
            value[2 * states + k] = at_cell * i * (np.float32(1) - c * c)
            value[3 * states + k] = g * bend * o * (np.float32(1) - o)
            cell_gradient[r, k] = at_cell * f
        step_sums[states] += along[r]
        for j in range(width):
            bias_sums[j] += value[j]
        for k in range(states):
            total, before = np.float32(0), hidden[r, k]
            for j in range(width):
                total += value[j] * recurrent[k, j]
                recurrent_sums[k, j] += before * value[j]
            hidden_gradient[r, k] = total
        for j in range(width):
            product[r, j] = np.uint16((bits[j] + HALF + ((bits[j] >> SHIFT) & ONE)) >> SHIFT)
