"""An autograd function for values whose gradients have already been computed."""

# pyright: basic
from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


class _Known(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value, gradients, *inputs):
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx, grad):
        if grad.item() == 1:  # on the processor, reading the value does not wait for a device
            return None, None, *ctx.gradients
        return None, None, *(grad * gradient for gradient in ctx.gradients)


def with_gradients(
    value: Float[Tensor, ""], inputs: Sequence[Tensor], gradients: Sequence[Tensor]
) -> Float[Tensor, ""]:
    """Return the value, differentiable with the given gradients; all tensors on the processor.

    Args:
        inputs: tensors on which the value depends.
        gradients: gradients of the value with respect to each of the inputs.
    """
    return _Known.apply(value, tuple(gradients), *inputs)
