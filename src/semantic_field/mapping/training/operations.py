"""The two parts of a training step with networks in them, for any device and for the processor.

``TorchOperations`` are torch's own, and nothing in them waits for a device, so that a step can be
captured. ``SharedOperations`` give the same results on the processor, shared out over the kernels'
threads: torch's own pool would spin beside them and take the cores from everybody else.
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
"""Called with a part of the rays (a slice) and their codes (r, G), once for each tensor of codes
that ``heads`` was given. Returns mean losses of the part, and the colour error of each ray."""


class HeadResult(NamedTuple):
    """The losses of the heads.

    Attributes:
        total: their sum, with gradients. losses: each of them, without.
        color_error: (R,), mean absolute difference of the colours in 0..1.
    """

    total: Float[Tensor, ""]
    losses: dict[str, Float[Tensor, ""]]
    color_error: Float[Tensor, " R"]


class TorchOperations:
    """The parts of a step in plain torch, for any device."""

    def trunk(self, layers: Layers, features: Float[Tensor, "LF P"], coded: int) -> TrunkOutput:
        return trunk(layers, features, coded)

    def heads(
        self,
        losses_of: HeadLosses,
        codes: list[Float[Tensor, "G R"]],
        parameters: list[nn.Parameter],
        together: bool,
    ) -> HeadResult:
        """All losses of the heads.

        Args:
            losses_of: see ``HeadLosses``.
            codes: of all rays, a column each. There may be several of equal value whose gradients
                take different ways from here.
            parameters: what else the losses may depend on.
            together: whether the losses have to be taken of all rays at once.
        """
        losses, color_error = losses_of(slice(None), *(code.T for code in codes))
        total = torch.stack(list(losses.values())).sum()
        return HeadResult(total, {k: loss.detach() for k, loss in losses.items()}, color_error)


class SharedOperations(TorchOperations):
    """The parts of a step on so many threads of the processor."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def trunk(self, layers: Layers, features: Float[Tensor, "LF P"], coded: int) -> TrunkOutput:
        return trunk_shared(layers, features, coded, self._threads)

    def heads(
        self,
        losses_of: HeadLosses,
        codes: list[Float[Tensor, "G R"]],
        parameters: list[nn.Parameter],
        together: bool,
    ) -> HeadResult:
        """See ``TorchOperations.heads``; each thread takes a share of the rays."""
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
        results = [found[start] for start, _ in shares]  # in one order, whoever was first
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
