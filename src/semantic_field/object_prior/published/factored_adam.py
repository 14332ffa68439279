"""Wide layers whose weights' gradients stay factors, and the Adam that takes them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from semantic_field.object_prior.published.factored_kernels import (
    factored_adam,
    wide_backward,
    wide_forward,
)

FACTORS = "factors"  # attribute of a parameter: (gradient at the outputs, inputs) of each use


def factored_linear(layer: nn.Linear, inputs: Tensor) -> Tensor:
    """Return a layer's outputs (B, P) for inputs (B, H), on the CPU in float32.

    Backwards, the weight gets no gradient, but two factors whose product it is, for
    ``FactoredAdam``; inputs and bias get theirs.
    """
    return _FactoredLinear.apply(inputs, layer.weight, layer.bias)


class _FactoredLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.weight = weight  # itself, and not a copy: its factors are kept on it
        ctx.save_for_backward(inputs)
        out = torch.empty(len(inputs), len(weight))
        wide_forward(inputs.numpy(), weight.detach().numpy(), bias.detach().numpy(), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None, Tensor]:
        (inputs,) = ctx.saved_tensors
        at_outputs = outputs[0].contiguous()
        setattr(ctx.weight, FACTORS, [*getattr(ctx.weight, FACTORS, ()), (at_outputs, inputs)])
        at_inputs = torch.zeros_like(inputs)
        wide_backward(at_outputs.numpy(), ctx.weight.detach().numpy(), at_inputs.numpy())
        return at_inputs, None, at_outputs.sum(0)


def gradient_of(weight: nn.Parameter) -> Tensor:
    """Return the gradient that a weight's factors stand for."""
    parts = [outputs.T @ inputs for outputs, inputs in getattr(weight, FACTORS)]
    return torch.stack(parts).sum(0)


class FactoredAdam(torch.optim.Optimizer):
    """Adam for weights (P, H) whose gradients are factors; a weight without any stays.

    A weight that has a gradient in place of factors (from plain torch) is stepped by that.
    """

    def __init__(
        self,
        weights: Iterable[nn.Parameter],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(weights, {"lr": lr, "betas": betas, "eps": eps})

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget gradients and factors."""
        super().zero_grad(set_to_none)
        for group in self.param_groups:
            for weight in group["params"]:
                setattr(weight, FACTORS, [])

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take a step."""
        for group in self.param_groups:
            for weight in group["params"]:
                factors = _factors(weight)
                if factors is not None:
                    self._step(weight, factors, group)

    def _step(
        self, weight: nn.Parameter, factors: tuple[Tensor, Tensor], group: dict[str, Any]
    ) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(weight)
            state["exp_avg_sq"] = torch.zeros_like(weight)
        state["step"] += 1
        (beta1, beta2), count = group["betas"], state["step"].item()
        numbers = (
            group["lr"] / (1 - beta1**count), beta1, beta2, math.sqrt(1 - beta2**count),
            group["eps"],
        )  # fmt: skip
        arrays = (weight.detach(), state["exp_avg"], state["exp_avg_sq"], *factors)
        factored_adam(*(array.numpy() for array in arrays), *map(np.float32, numbers))


def _factors(weight: nn.Parameter) -> tuple[Tensor, Tensor] | None:
    """Return a weight's gradient as one pair of factors (B, P) and (B, H); None without any."""
    pairs = getattr(weight, FACTORS, [])
    if weight.grad is not None:
        pairs = [*pairs, (weight.grad.T.contiguous(), torch.eye(weight.shape[1]))]
    if not pairs:
        return None
    return torch.cat([p[0] for p in pairs]), torch.cat([p[1] for p in pairs])
