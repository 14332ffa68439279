"""Chooses the faster type for matrix products on this CPU, by one measurement per process.

With AVX512-BF16 or AMX, bfloat16 is about four times as fast as float32; without, torch emulates
it at a tenth of the speed.
"""

from __future__ import annotations

import time
from functools import cache

import torch

TEXTS, WIDTH, POINTS, ROUNDS = 8, 64, 1 << 15, 5


@cache
def product_type() -> torch.dtype:
    """Return the faster type for products of a few rows with many columns: bfloat16 or float32."""
    times = {dtype: _seconds(dtype) for dtype in (torch.float32, torch.bfloat16)}
    return min(times, key=times.__getitem__)


def _seconds(dtype: torch.dtype) -> float:
    """Return the shortest time of some products; the first, which initialises torch, is ignored."""
    rows, columns = torch.ones(TEXTS, WIDTH, dtype=dtype), torch.ones(WIDTH, POINTS, dtype=dtype)
    taken = []
    for _ in range(1 + ROUNDS):
        begin = time.perf_counter()
        torch.mm(rows, columns)
        taken.append(time.perf_counter() - begin)
    return min(taken[1:])
