"""Placement of samples along one ray, and what is known of their distances from surfaces."""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

import numpy as np
from numba import njit, uint64

_jit = njit(nogil=True, cache=True, error_model="numpy")


@njit(inline="always")
def random(state):
    """Return the next state and a number in 0..1, by splitmix64 (Steele et al. 2014)."""
    state = uint64(state + uint64(0x9E3779B97F4A7C15))
    x = state
    x = uint64((x ^ (x >> uint64(30))) * uint64(0xBF58476D1CE4E5B9))
    x = uint64((x ^ (x >> uint64(27))) * uint64(0x94D049BB133111EB))
    x = x ^ (x >> uint64(31))
    return state, np.float32((x >> uint64(40)) * 5.9604644775390625e-08)


@_jit
def place_near(depth, band, state, z):
    """Fill ``z`` with stratified samples in depth - band..depth + band; returns the next state."""
    near = len(z)
    for i in range(near):
        state, u = random(state)
        z[i] = depth - band + 2 * band * (i + u) / near
    return state


@_jit
def place_free(begin, end, state, spans, number, total, z):
    """Fill ``z`` with stratified samples over the spans, or over begin..end if ``total`` is 0.

    Returns the next state.
    """
    span, passed = 0, np.float32(0)
    free = len(z)
    for i in range(free):
        state, u = random(state)
        share = (i + u) / free
        if total <= 0:
            z[i] = begin + (end - begin) * share
            continue
        along = share * total
        while span < number - 1 and along > passed + spans[span, 1] - spans[span, 0]:
            passed += spans[span, 1] - spans[span, 0]
            span += 1
        z[i] = min(spans[span, 0] + along - passed, spans[span, 1])
    return state


@_jit
def fill(points, first, origin, direction, z):
    """Fill ``points`` from ``first`` on with ``origin + z * direction``."""
    for i in range(len(z)):
        for axis in range(3):
            points[first + i, axis] = origin[axis] + z[i] * direction[axis]


@_jit
def note_clearance(free_z, surface, front, aside, along, cosine, most, clearance):
    """Fill ``clearance`` of the samples of one ray at the z-depths ``free_z``, at most ``most``.

    ``front`` is the z-depth of a nearer surface at the distance ``aside``, 0 = none; ``along`` is
    the length of the ray per metre of z-depth, ``cosine`` that of its angle at the surface.
    """
    for i in range(len(free_z)):
        free = min(most, (surface - free_z[i]) * along * cosine)
        if front > 0:
            before = (front - free_z[i]) * along
            free = min(free, np.sqrt(aside * aside + before * before))
        clearance[i] = free
