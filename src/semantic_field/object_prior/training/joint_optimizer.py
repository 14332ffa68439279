"""Several optimisers that act, and are saved, as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class JointOptimizer:
    """Steps several optimisers together; their states are numbered one after the other.

    Counts of steps that torch keeps as Python numbers (``SparseAdam``) become tensors in the
    state, and numbers again when it is loaded, so that a resumed training is equal to the bit.
    Every group has a ``base_rate``: its learning rate at the beginning.
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self._optimizers = list(optimizers)
        self.param_groups: list[dict[str, Any]] = []
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group.setdefault("base_rate", group["lr"])
        self._gather_groups()

    def _gather_groups(self) -> None:
        self.param_groups = [g for each in self._optimizers for g in each.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all."""
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none)

    def step(self) -> None:
        """Let each of them take its step."""
        for optimizer in self._optimizers:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the states, numbered one after the other, and the groups."""
        state: dict[int, dict[str, Tensor]] = {}
        for first, own in zip(self._firsts(), self._optimizers, strict=True):
            for number, entries in own.state_dict()["state"].items():
                state[first + number] = {n: _as_tensor(v) for n, v in entries.items()}
        return {"state": state, "param_groups": self.param_groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the states that ``state_dict`` returned; the groups stay as they are."""
        firsts = self._firsts()
        for first, own in zip(firsts, self._optimizers, strict=True):
            numbers = range(first, first + _parameter_count(own))
            count = _as_number if isinstance(own, torch.optim.SparseAdam) else _unchanged
            states = {
                number - first: {n: count(v) if n == "step" else v for n, v in entries.items()}
                for number, entries in state_dict["state"].items()
                if number in numbers
            }
            groups = own.state_dict()["param_groups"]
            own.load_state_dict({"state": states, "param_groups": groups})
        self._gather_groups()

    def _firsts(self) -> list[int]:
        """Return the number of each optimiser's first parameter."""
        counts = [_parameter_count(own) for own in self._optimizers]
        return [sum(counts[:index]) for index in range(len(counts))]


def _parameter_count(optimizer: torch.optim.Optimizer) -> int:
    return sum(len(group["params"]) for group in optimizer.param_groups)


def _as_tensor(value: Any) -> Tensor:
    return value if torch.is_tensor(value) else torch.tensor(value)


def _as_number(value: Tensor) -> int:
    return int(value)


def _unchanged(value: Tensor) -> Tensor:
    return value
