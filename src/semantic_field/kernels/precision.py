"""Whether bfloat16 products are faster here: measured once, not assumed.

With AVX512-BF16 or AMX they are about four times as fast as float32; without, torch emulates
them at a tenth of the speed.
"""

from __future__ import annotations

import time
from functools import cache

import torch

TEXTS, WIDTH, POINTS, ROUNDS = 8, 64, 1 << 15, 5


@cache
def product_type() -> torch.dtype:
    """The faster type for products of a few rows with many columns: bfloat16 or float32."""
    times = {dtype: _seconds(dtype) for dtype in (torch.float32, torch.bfloat16)}
    return min(times, key=times.__getitem__)


def _seconds(dtype: torch.dtype) -> float:
    """The fastest of some products; the first one, which sets the library up, does not count."""
    rows, columns = torch.ones(TEXTS, WIDTH, dtype=dtype), torch.ones(WIDTH, POINTS, dtype=dtype)
    taken = []
    for _ in range(1 + ROUNDS):
        begin = time.perf_counter()
        torch.mm(rows, columns)
        taken.append(time.perf_counter() - begin)
    return min(taken[1:])
