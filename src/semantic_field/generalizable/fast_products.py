"""Products in bfloat16 where a processor multiplies these several times as fast as float32.

Such processors (AMX) add up in float32, so a product loses a few thousandths of its inputs' size.
Only hidden layers are computed so: colours and depths themselves never pass through them.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear, pad


@cache
def has_tiles() -> bool:
    """Return whether this machine's processor has such units and torch uses them."""
    return torch.backends.mkldnn.is_available() and torch.cpu._is_amx_tile_supported()


def hidden_type(like: Tensor) -> torch.dtype:
    """Return the type in which hidden layers are computed of a tensor: float32 for gradients."""
    is_fast = like.device.type == "cpu" and not torch.is_grad_enabled() and has_tiles()
    return torch.bfloat16 if is_fast else like.dtype


def product(layer: nn.Linear, x: Tensor) -> Tensor:
    """Return what a layer gives, in the type of ``x``, its weights brought to it."""
    return linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def convolved(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Return what a convolution of stride 1 gives, in the type of ``x``, its border repeated."""
    reach = layer.kernel_size[0] // 2
    padded = pad(x, (reach,) * 4, mode="replicate") if reach else x
    padded = padded.contiguous(memory_format=torch.channels_last)
    bias = None if layer.bias is None else layer.bias.to(x.dtype)
    return conv2d(padded, layer.weight.to(x.dtype), bias)
