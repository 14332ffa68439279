"""Wide linear layers for a few inputs: B rows of H numbers to P outputs, P in the ten thousands.

Such a layer does little with each of its weights, so that its time is that of reading and writing
them. The gradient of the weights is a sum of B outer products: it is made row by row where Adam
needs it, and never stored.
"""

# Compiled functions carry no annotations.
# pyright: basic, reportAttributeAccessIssue=false
from __future__ import annotations

import numpy as np
from numba import njit

_jit = njit(cache=True, fastmath=True, nogil=True, error_model="numpy")


@_jit
def wide_forward(inputs, weight, bias, out):
    """``out`` (B, P) = ``inputs`` (B, H) times the rows of ``weight`` (P, H), plus ``bias``."""
    count, hidden = inputs.shape
    for p in range(len(weight)):
        for b in range(count):
            total = np.float32(0)
            for h in range(hidden):
                total += inputs[b, h] * weight[p, h]
            out[b, p] = total + bias[p]


@_jit
def wide_backward(at_outputs, weight, at_inputs):
    """Add to ``at_inputs`` (B, H) the gradients ``at_outputs`` (B, P) times ``weight`` (P, H)."""
    count, hidden = at_inputs.shape
    for p in range(len(weight)):
        for b in range(count):
            gradient = at_outputs[b, p]
            for h in range(hidden):
                at_inputs[b, h] += gradient * weight[p, h]


@_jit
def factored_adam(
    weight, mean, square, at_outputs, inputs, rate, beta1, beta2, root2, epsilon
):  # fmt: skip
    """One step of Adam on ``weight`` (P, H), whose gradient is ``at_outputs``^T ``inputs``.

    ``mean`` and ``square`` (P, H) are its moments; ``rate`` is that divided by 1 - beta1^t, and
    ``root2`` the square root of 1 - beta2^t.
    """
    count, hidden = inputs.shape
    gradient = np.empty(hidden, np.float32)
    rest1, rest2 = np.float32(1) - beta1, np.float32(1) - beta2
    over = np.float32(1) / root2
    for p in range(len(weight)):
        for h in range(hidden):
            gradient[h] = 0
        for b in range(count):
            factor = at_outputs[b, p]
            for h in range(hidden):
                gradient[h] += factor * inputs[b, h]
        for h in range(hidden):
            g = gradient[h]
            m = mean[p, h] + rest1 * (g - mean[p, h])
            v = beta2 * square[p, h] + rest2 * g * g
            mean[p, h] = m
            square[p, h] = v
            weight[p, h] -= rate * m / (np.sqrt(v) * over + epsilon)
