"""Results of a device on the processor: through pinned memory, as a GPU writes fastest."""

from __future__ import annotations

import torch
from torch import Tensor


def host_like(tensor: Tensor) -> Tensor:
    """Memory of the processor for the contents of a tensor; pinned where that is on a GPU.

    Torch keeps pinned memory for the next caller.
    """
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)


def to_host(*tensors: Tensor) -> list[Tensor]:
    """Tensors of one device as tensors of the processor; those that are there are not copied."""
    if not tensors[0].is_cuda:
        return [tensor.cpu() for tensor in tensors]
    copies = [host_like(t).copy_(t, non_blocking=True) for t in tensors]
    torch.cuda.current_stream(tensors[0].device).synchronize()
    return copies
