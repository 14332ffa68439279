"""The parts of a training step that evaluate networks: in plain torch, and multi-threaded.

``TorchOperations`` use plain torch and never wait for a device, so that a step can be captured.
``SharedOperations`` compute the same on the processor, with the work split over the kernels'
threads: the threads of torch's own pool would busy-wait and take processor time from others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from semantic_field.kernels.threads import run_parallel, split
from semantic_field.mapping.training.known_gradients import with_gradients
from semantic_field.mapping.training.trunk import Layers, TrunkOutput, trunk, trunk_shared

HeadLosses = Callable[..., tuple[dict[str, Tensor], Float[Tensor, " r"]]]
"""Called with a slice of the rays and, for each tensor of codes given to ``heads``, the codes of
these rays (r, G). Returns the mean losses over these rays by name, and each ray's colour error."""


class HeadResult(NamedTuple):
    """Losses of the heads.

    Attributes:
        total: sum of the losses, differentiable. losses: each loss by name, detached.
        color_error: (R,), mean absolute colour error in 0..1.
    """

    total: Float[Tensor, ""]
    losses: dict[str, Float[Tensor, ""]]
    color_error: Float[Tensor, " R"]


class TorchOperations:
    """The parts of a step in plain torch, for any device."""

    def trunk(self, layers: Layers, features: Float[Tensor, "LF P"], coded: int) -> TrunkOutput:
        """Return the trunk's output, see ``training.trunk.trunk``."""
        return trunk(layers, features, coded)

    def heads(
        self,
        losses_of: HeadLosses,
        codes: list[Float[Tensor, "G R"]],
        parameters: list[nn.Parameter],
        together: bool,
    ) -> HeadResult:
        """Return all losses of the heads.

        Args:
            losses_of: see ``HeadLosses``.
            codes: composited codes (G, R) of the rays. Several tensors may have equal values but
                propagate gradients differently.
            parameters: further tensors on which the losses may depend.
            together: whether the losses must be computed for all rays at once.
        """
        losses, color_error = losses_of(slice(None), *(code.T for code in codes))
        total = torch.stack(list(losses.values())).sum()
        return HeadResult(total, {k: loss.detach() for k, loss in losses.items()}, color_error)


class SharedOperations(TorchOperations):
    """The parts of a step on the processor, split over ``threads`` threads."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def trunk(self, layers: Layers, features: Float[Tensor, "LF P"], coded: int) -> TrunkOutput:
        """Return the trunk's output, see ``training.trunk.trunk_shared``."""
        return trunk_shared(layers, features, coded, self._threads)

    def heads(
        self,
        losses_of: HeadLosses,
        codes: list[Float[Tensor, "G R"]],
        parameters: list[nn.Parameter],
        together: bool,
    ) -> HeadResult:
        """Return all losses, see ``TorchOperations.heads``; rays are split over the threads."""
        count, whole = codes[0].shape[1], [code.detach() for code in codes]
        code_grads, color_error = [torch.zeros_like(code) for code in whole], torch.empty(count)
        found: dict[int, tuple[dict[str, Tensor], tuple[Tensor | None, ...]]] = {}

        @torch.enable_grad()
        def work(start: int, stop: int) -> None:
            part = slice(start, stop)
            own = [code[:, part].T.detach().requires_grad_() for code in whole]
            losses, color_error[part] = losses_of(part, *own)
            losses = {name: loss * ((stop - start) / count) for name, loss in losses.items()}
            total = torch.stack(list(losses.values())).sum()
            grads = torch.autograd.grad(total, [*own, *parameters], allow_unused=True)
            for target, grad in zip(code_grads, grads):
                if grad is not None:
                    target[:, part] = grad.T
            of_parameters = grads[len(own) :]
            found[start] = {n: loss.detach() for n, loss in losses.items()}, of_parameters

        shares = split(count, 1 if together else self._threads)
        run_parallel(work, shares)
        results = [found[start] for start, _ in shares]  # fixed order: reproducible sums
        wanted, gradients = list(codes), code_grads
        for parameter, grads in zip(parameters, zip(*(g for _, g in results)), strict=True):
            given = [grad for grad in grads if grad is not None]
            if given:
                wanted.append(parameter)
                gradients.append(torch.stack(given).sum(0))
        losses = dict(results[0][0])
        for part, _ in results[1:]:
            losses = {name: loss + part[name] for name, loss in losses.items()}
        value = torch.stack(list(losses.values())).sum()
        return HeadResult(with_gradients(value, wanted, gradients), losses, color_error)
