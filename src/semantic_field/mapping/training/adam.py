"""Adam for the parameters of a field's small networks."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

UNUSUAL = 0.3  # of the recent size of gradients: larger ones are made smaller, see ``temper``


class Adam:
    """Adam (Kingma and Ba, 2015) of a few parameters on one device, in one fused call.

    ``torch.optim.Adam`` calculates the same with the same function, but making one imports
    torch's compiler: 140 MB of resident memory and a second.

    Attributes:
        rate: float32 (), the learning rate; to be filled in place, a captured step reads it.
        state: of each parameter that has had a gradient: ``step`` (), ``exp_avg`` and
            ``exp_avg_sq`` of its shape, float32.
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
        # on the processor a number would be made a tensor for each parameter
        self._one = 1 if self.rate.is_cuda else torch.ones_like(self.rate)

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Follow the gradients; parameters without one stay where they are."""
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
    """Make gradients of the networks smaller where they are above a share of their recent size.

    What a person says is news to a field that fits well: gradients far above their usual size.
    Adam would take its longest steps along them, and as the networks serve the whole map, half
    of it would change its labels for a second. The grid, which is local, learns unhindered.

    Gradients change in place: of each parameter as a whole, of ``label_head`` row by row. Those
    without a recent size (0, or no step yet) stay as they are.
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
    """Adam's state of a parameter that has got more rows: zeros for the new ones.

    ``values`` are those of ``Adam.state`` for the first ``rows``; they are copied.
    """
    grown = {}
    for name, value in values.items():
        if value.dim() == 0:
            grown[name] = value
            continue
        grown[name] = torch.zeros_like(parameter)
        grown[name][:rows] = value
    return grown
