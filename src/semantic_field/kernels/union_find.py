"""Disjoint sets as an array of parents (union-find), for compiled functions."""

# Compiled functions carry no annotations: Numba infers their types.
from __future__ import annotations

from numba import njit


@njit(nogil=True, cache=True, error_model="numpy")
def find_root(parent, i):
    """Return the root of element ``i``, and halve the path to it on the way.

    Args:
        parent: int64 (N,), the parent of each element; ``np.arange(N)`` before any are joined.
            ``parent[find_root(parent, b)] = find_root(parent, a)`` joins two sets.
    """
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i
