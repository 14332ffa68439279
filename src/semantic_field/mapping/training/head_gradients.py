"""Gradients of losses of many rays by autograd, a share of the rays in each thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from semantic_field.kernels.threads import run_parallel

Losses = dict[str, Tensor]


def gradients_by_share(
    losses_of: Callable[[slice, Float[Tensor, "r G"], Float[Tensor, "r G"]], Losses],
    code: Float[Tensor, "G R"],
    parameters: Iterable[torch.nn.Parameter],
    shares: list[tuple[int, int]],
) -> tuple[dict[str, float], Float[Tensor, "G R"], Float[Tensor, "G R"]]:
    """Mean losses by name, and the two gradients of the codes; those of parameters in ``.grad``.

    Args:
        losses_of: mean losses of a part of the rays from their codes, which come twice, so that
            what is learnt from one and from the other can be told apart.
        code: of all rays, a column each. The second gradient is 0 where no loss is of the second.
        parameters: what else the losses may depend on; a ``.grad`` stays as it is where none does.
        shares: first ray and the one after the last, of each share; together they are all rays.
    """
    parameters, count = list(parameters), code.shape[1]
    code_grad, meaning_grad = torch.empty_like(code), torch.zeros_like(code)
    found: dict[int, tuple[Losses, tuple[Tensor | None, ...]]] = {}

    @torch.enable_grad()
    def work(start: int, stop: int) -> None:
        part = slice(start, stop)
        share, meaning = (code[:, part].T.detach().requires_grad_() for _ in range(2))
        losses = losses_of(part, share, meaning)
        losses = {name: loss * ((stop - start) / count) for name, loss in losses.items()}
        total = torch.stack(list(losses.values())).sum()
        grad, of_meaning, *grads = torch.autograd.grad(
            total, [share, meaning, *parameters], allow_unused=True
        )
        code_grad[:, part] = grad.T
        if of_meaning is not None:
            meaning_grad[:, part] = of_meaning.T
        found[start] = losses, tuple(grads)

    run_parallel(work, shares)
    results = [found[start] for start, _ in shares]  # in one order, whoever was first
    for parameter, grads in zip(parameters, zip(*(g for _, g in results)), strict=True):
        given = [grad for grad in grads if grad is not None]
        if given:
            parameter.grad = torch.stack(given).sum(0)
    names = results[0][0]
    losses = {name: sum(float(part[name].detach()) for part, _ in results) for name in names}
    return losses, code_grad, meaning_grad
