"""Adam for the parameters of a field's small networks."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

UNUSUAL = 0.3  # largest gradient in ``temper``, relative to the recent root mean square


class Adam:
    """The Adam optimiser (Kingma and Ba, 2015) for a few parameters on one device, fused.

    ``torch.optim.Adam`` computes the same with the same function, but creating one imports torch's
    compiler, which takes 140 MB of memory and a second.

    Args:
        parameters: parameters to optimise, on one device.
        betas, eps: decay rates of the moments, and the term added to the denominator.
    Attributes:
        rate: float32 (), the learning rate; change it in place, as a captured step reads it.
        state: for each parameter that has had a gradient: ``step`` (), ``exp_avg`` and
            ``exp_avg_sq`` of the parameter's shape, all float32.
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-12,
    ) -> None:
        self.parameters = list(parameters)
        self.betas, self.eps = betas, eps
        self.rate = torch.tensor(1e-3, device=self.parameters[0].device)
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        # On the processor, torch would convert a number to a tensor for each parameter.
        self._one = 1 if self.rate.is_cuda else torch.ones_like(self.rate)

    def zero_grad(self) -> None:
        """Discard all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters by their gradients; those without a gradient do not change."""
        moving: list[Tensor] = []
        gradients: list[Tensor] = []
        for parameter in self.parameters:
            if parameter.grad is not None:
                moving.append(parameter)
                gradients.append(parameter.grad)
        if not moving:
            return
        states = [self._state_of(p) for p in moving]
        first, second, steps = (
            [state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step")
        )
        torch._foreach_add_(steps, self._one)
        torch._fused_adam_(
            moving,
            gradients,
            first,
            second,
            [],
            steps,
            lr=self.rate,
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=0.0,
            eps=self.eps,
            amsgrad=False,
            maximize=False,
        )

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        if parameter not in self.state:
            self.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        return self.state[parameter]


@torch.no_grad()
def temper(optimizer: Adam, label_head: torch.nn.Linear) -> None:
    """Limit network gradients to ``UNUSUAL`` times their recent root mean square, in place.

    A new annotation contradicts a field that fits well, so its gradients are far above their usual
    size, and Adam would take its longest steps along them. The networks are shared by the whole
    map, half of which would change its labels for a second. The grid acts locally and is not
    limited.

    Each parameter is scaled as a whole, except for ``label_head``, whose rows are scaled one by
    one. Gradients without a recent size (0, or no step yet) stay as they are.
    """
    for parameter, state in optimizer.state.items():
        grad = parameter.grad
        if grad is None:
            continue
        of_rows = parameter is label_head.weight or parameter is label_head.bias
        width = grad.numel() // len(grad) if of_rows else grad.numel()
        rows, usual = grad.view(-1, width), state["exp_avg_sq"].view(-1, width).mean(1).sqrt()
        scale = UNUSUAL * usual / rows.square().mean(1).sqrt().clamp_min(1e-30)
        rows *= torch.where(usual > 0, scale.clamp_max(1.0), 1.0)[:, None]


def padded(values: dict[str, Tensor], parameter: Tensor, rows: int) -> dict[str, Tensor]:
    """Return the state of a parameter that got more rows: a copy, with zeros for the new rows.

    Args:
        values: entry of ``Adam.state`` for the parameter before.
        parameter: the parameter with more rows.
        rows: number of rows before.
    """
    grown = {}
    for name, value in values.items():
        if value.dim() == 0:
            grown[name] = value
            continue
        grown[name] = torch.zeros_like(parameter)
        grown[name][:rows] = value
    return grown
